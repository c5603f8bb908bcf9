"""Low-rank adaptation of every family: it begins as nothing, merges into what it was, and trains as few as it says."""

from __future__ import annotations

import copy

import pytest
import torch
from small import FAMILIES, small
from torch import nn

from arcformer.errors import InputError
from arcformer.models.lora import LowRank, inject, merge

RANK = 3


def trained(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def moved(network: nn.Module) -> nn.Module:
    """``network``, whose corrections have been learned, as it were."""
    with torch.no_grad():
        for parameter in trained(network).values():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return network


def alike(network: nn.Module, other: nn.Module, images: torch.Tensor) -> None:
    """The same weights to the bit; the same maps but for rounding, which depends on where numbers lie."""
    for name, module in network.named_modules():
        if isinstance(getattr(module, "weight", None), torch.Tensor):
            assert torch.equal(module.weight, other.get_submodule(name).weight), name
    for map, expected in zip(network.features(images), other.features(images), strict=True):
        torch.testing.assert_close(map.x, expected.x, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_adapted_and_merged(name):
    plain, images = small(name).eval(), torch.randn(2, 1, 32, 37)
    adapted = copy.deepcopy(plain)
    inject(adapted, RANK, alpha=2.0 * RANK)
    alike(plain, adapted, images)

    moved(adapted)
    assert not torch.allclose(adapted.features(images)[-1].x, plain.features(images)[-1].x, atol=1e-2)
    merged = copy.deepcopy(adapted)
    merge(merged)
    assert merged.state_dict().keys() == plain.state_dict().keys()
    plain.load_state_dict(merged.state_dict())
    alike(merged, adapted, images)  # which, though it was copied, is what it was
    alike(plain, adapted, images)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_reach_the_corrections_alone(name):
    backbone = small(name).train()
    matrices = sum(
        isinstance(m, nn.Linear) or (isinstance(m, nn.Conv2d) and m.groups == 1)
        for m in backbone.modules()
        if any(p.requires_grad and min(p.shape[0], p[0].numel()) > RANK for p in m.parameters(False) if p.ndim > 1)
    )
    inject(backbone, RANK)
    backbone = moved(backbone)
    sum((m.x * torch.randn_like(m.x)).sum() for m in backbone.features(torch.randn(2, 1, 32, 32))).backward()
    corrections = [m for m in backbone.modules() if isinstance(m, LowRank)]
    assert len(corrections) == matrices > 0
    assert {id(p) for p in trained(backbone).values()} == {id(p) for m in corrections for p in (m.A, m.B)}
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.any())) == parameter.requires_grad, name


def test_as_many_numbers_are_trained_as_in_the_paper():
    """Section 4.2: 2 x matrices x width x rank for the square matrices of attention; here width 32 and rank 4."""
    backbone = nn.ModuleDict({f"layer{i}": nn.ModuleDict({k: nn.Linear(32, 32) for k in "qkvo"}) for i in range(2)})
    inject(backbone, 4, targets=["*.q", "*.v"])
    assert sum(p.numel() for p in trained(backbone).values()) == 2 * 4 * 32 * 4
    assert next(iter(trained(backbone))) == "layer0.q.parametrizations.weight.0.A"
    vit = small("vit")
    inject(vit, 4, targets=["*.qkv"])
    assert sum(p.numel() for p in trained(vit).values()) == 2 * 4 * (32 + 96)


def test_the_sum_is_that_of_equation_3():
    layer, x = nn.Linear(5, 7), torch.randn(3, 5)
    w, b = layer.weight.detach().clone(), layer.bias.detach()
    inject(layer, 2, alpha=6.0)
    correction = moved(layer).parametrizations.weight[0]
    torch.testing.assert_close(layer(x), x @ w.T + b + 6 / 2 * (x @ correction.A.T @ correction.B.T))


def test_attention_that_works_on_its_weights_by_itself():
    layer, x = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), torch.randn(2, 5, 8)
    names = set(layer.state_dict())
    inject(layer, 2)
    assert "self_attn.parametrizations.in_proj_weight.0.A" in trained(layer)
    expected = moved(layer)(x)
    merge(layer)
    assert set(layer.state_dict()) == names
    torch.testing.assert_close(layer(x), expected)


def test_shared_and_frozen_matrices_are_left_alone():
    one, two, other = (nn.Linear(6, 6) for _ in range(3))
    two.weight, other.weight.requires_grad = one.weight, False
    network = nn.Sequential(one, two, other, nn.Linear(6, 6))
    inject(network, 2)
    assert list(trained(network)) == ["3.parametrizations.weight.0.A", "3.parametrizations.weight.0.B"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rank": 0}, "rank and alpha must be positive, got rank=0"),
        ({"rank": 2, "alpha": -1.0}, r"got rank=2, alpha=-1\.0"),
        ({"rank": 2, "targets": ["*.atention.*"]}, r"matches no module with a matrix; did you mean 'blocks\.\*\.att"),
        ({"rank": 32}, "rank 32 is no low rank for matrices of at most 32 rows or columns"),
        ({"rank": 2, "targets": []}, "at most 0 rows"),
    ],
)
def test_what_cannot_be_adapted_is_said_and_nothing_frozen(arguments, words):
    backbone = small("vit")
    with pytest.raises(InputError, match=words) as caught:
        inject(backbone, **arguments)
    assert "\n" not in str(caught.value)
    assert len(trained(backbone)) == len(list(backbone.parameters()))
    with pytest.raises(InputError, match="BatchNorm2d has no matrix"):
        inject(nn.BatchNorm2d(3), 1)

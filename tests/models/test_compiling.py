"""Every family, compiled: features and gradients are those of the network as it is written."""

from __future__ import annotations

import copy

import pytest
import torch
from small import FAMILIES, REGISTERED, small
from torch import Tensor

from arcformer.models import Backbone
from arcformer.models.lora import inject
from arcformer.models.recompute import recompute

TRACED = "aot_eager_decomp_partition"
"""All that torch.compile does but the compiler's part: seconds in place of minutes, and the same random numbers."""


def step(backbone: Backbone, backend: str | None = None) -> dict[str, Tensor]:
    """A loss of all maps, with its gradients and the buffers that a training step leaves."""

    def loss(images: Tensor) -> Tensor:
        return torch.stack([(m.x * torch.cos(3 * m.x)).mean() for m in backbone.features(images)]).sum()

    torch.manual_seed(1)
    images = torch.randn(3, 1, 32, 37)
    torch.compiler.reset()
    value = (loss if backend is None else torch.compile(loss, backend=backend))(images)
    value.backward()
    left = {name: p.grad for name, p in backbone.named_parameters() if p.grad is not None}
    return {"loss": value.detach()} | left | {name: b.clone() for name, b in backbone.named_buffers()}


def alike(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """To 1e-4, of one or of the largest gradient: some, as a key's bias, have none but for rounding."""
    assert found.keys() == expected.keys()
    largest = max(1.0, *(float(value.abs().max()) for value in expected.values()))
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, atol=1e-4 * largest, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


def made_to_train(name: str, **options) -> Backbone:
    backbone = small(name, **options).train()
    recompute(backbone)
    inject(backbone, 2)
    return backbone


def test_vit_is_traced_with_all_that_training_makes_of_it():
    backbone = made_to_train("vit", drop_path=0.5)
    alike(step(copy.deepcopy(backbone), TRACED), step(backbone))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_traced_with_all_that_training_makes_of_it(name):
    backbone = made_to_train(name)
    alike(step(copy.deepcopy(backbone), TRACED), step(backbone))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_compiled(name):
    still = {"drop_path": 0.0} if "drop_path" in REGISTERED.get(name, {}) else {}  # a compiled network draws others
    backbone = small(name, **still).train()
    for block in backbone.modules():
        if hasattr(block, "drop_prob"):
            block.drop_prob = 0.0
    alike(step(copy.deepcopy(backbone), "inductor"), step(backbone))

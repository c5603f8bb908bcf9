"""The symmetries of the square, of the whole and of its parts; turned with torch's own functions, not the module's."""

from __future__ import annotations

import pytest
import torch
from symmetry import equivariance_error, random_weights, turned
from torch import nn

from arcformer.errors import InputError
from arcformer.models import EquivariantTransformer, PoolHead, VisionTransformer
from arcformer.models.equivariant import BETWEEN, ELEMENTS, GroupConv, GroupLinear

SIZES = [(64, 64), (48, 48), (37, 37), (37, 45), (13, 20), (5, 5), (150, 150)]


def d4vit(image_size=32, channels=1, **options) -> EquivariantTransformer:
    torch.manual_seed(0)
    return EquivariantTransformer(image_size, channels, **{"dim": 64, "depth": 2, **options})


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("patch", [4, 8])
def test_features_turn_with_the_image(size, patch):
    backbone = random_weights(d4vit(channels=2, patch=patch))
    assert equivariance_error(backbone, torch.randn(2, 2, *size)) < 1e-5


def test_a_plain_transformer_does_not():
    assert equivariance_error(random_weights(VisionTransformer(32, 1)), torch.randn(2, 1, 32, 32)) > 0.1


@torch.no_grad()
@pytest.mark.parametrize("pool", ["mean", "attention"])
def test_what_is_pooled_does_not_change(pool):
    backbone, head = random_weights(d4vit()), random_weights(PoolHead(64, 3, pool=pool))
    images = torch.randn(3, 1, 41, 41)
    outputs = torch.stack([head(backbone(t)) for t in turned(images)])
    torch.testing.assert_close(outputs, outputs[:1].expand_as(outputs), rtol=0, atol=1e-5)
    assert (outputs[0, 0] - outputs[0, 1]).abs().max() > 1e-3  # and yet images are told apart


@torch.no_grad()
def test_relations_between_tokens_are_seen():
    """Two images of the same patches in places that no symmetry relates have different features, pooled."""
    backbone, image = random_weights(d4vit()), torch.zeros(1, 1, 32, 32)
    near, far = image.clone(), image.clone()
    near[..., 2:6, 2:6] = near[..., 2:6, 10:14] = 1
    far[..., 2:6, 2:6] = far[..., 2:6, 26:30] = 1
    a, b = (backbone(each)[0].x.mean((2, 3)) for each in (near, far))
    assert (a - b).abs().max() > 1e-3


def test_the_group_is_a_group():
    assert len(set(ELEMENTS)) == 8
    assert ELEMENTS[0] == ((1, 0), (0, 1))
    assert all(sorted(row) == list(range(8)) and row[g] == 0 for g, row in enumerate(BETWEEN))


def test_linear_maps_commute_with_the_group():
    """Acting on the copies, f(g) to f(u^-1 g), before or after the map is the same."""
    linear, x = GroupLinear(24, 16), torch.randn(5, 24)
    for u in range(8):
        act = [BETWEEN[u][g] for g in range(8)]
        before = linear(x.unflatten(1, (8, 3))[:, act].flatten(1))
        torch.testing.assert_close(before, linear(x).unflatten(1, (8, 2))[:, act].flatten(1))


def test_lifting_sees_turned_copies_of_one_kernel():
    lift = GroupConv(1, 8, 4, 2, lifts=True)
    impulses = torch.eye(16).view(16, 1, 4, 4)  # one for each weight
    seen = lift(nn.functional.pad(impulses, (1, 1, 1, 1)))[:, :, 1, 1] - lift.bias.repeat(8)
    found = {tuple(kernel.tolist()) for kernel in seen.T}
    first = lift.weight.detach().view(4, 4)
    assert found == {tuple(t.flatten().tolist()) for t in turned(first)}


@pytest.mark.parametrize(("size", "millions"), [("tiny", 0.139), ("small", 3.02), ("base", 11.9)])
def test_sizes(size, millions):
    with torch.device("meta"):
        backbone = EquivariantTransformer(64, 1, size=size)
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)


def test_autocast_to_bfloat16():
    backbone, images = random_weights(d4vit()), torch.randn(2, 1, 32, 32)
    full = backbone(images)[0].x
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = backbone(images)[0].x
    assert (low.float() - full).norm() < 0.05 * full.norm()


@pytest.mark.slow
def test_compiles_in_one_graph():
    backbone, images = d4vit(), torch.randn(2, 1, 20, 25)
    compiled = torch.compile(backbone.features, fullgraph=True)(images)[0].x
    torch.testing.assert_close(compiled, backbone.features(images)[0].x, atol=1e-4, rtol=1e-4)
    torch.compiler.reset()  # other backbones share features(), and would be compiled for shapes that vary


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"heads": 4}, "multiples of 8"),
        ({"dim": 60}, "dim one of heads"),
        ({"mlp": 100}, "multiples of 8"),
        ({"depth": 0}, "positive"),
        ({"patch": 6}, "power of two, got 6"),
        ({"patch": 32}, "divisible by 128"),
        ({"drop_path": 1.0}, "drop_path"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        d4vit(**options)


def test_images_of_other_channels_are_refused():
    with pytest.raises(InputError, match="1 channel"):
        d4vit().features(torch.randn(1, 3, 24, 24))

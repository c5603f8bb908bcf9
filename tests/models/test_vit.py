"""The properties of the vision transformer; test_oracles.py has it against an independent implementation."""

from __future__ import annotations

import pytest
import torch

from arcformer.errors import InputError
from arcformer.models import Tokens, VisionTransformer
from arcformer.models.position import rotate, sincos

TINY = {"dim": 32, "depth": 2, "heads": 4, "patch": 8}


def vit(image_size=24, channels=1, **options):
    torch.manual_seed(0)
    return VisionTransformer(image_size, channels, **{**TINY, **options}).eval()


@pytest.mark.parametrize("position", ["sincos", "learned", "rotary"])
def test_blocks_know_where_tokens_are(position):
    """Two images that hold the same patches in other places have different features."""
    backbone, image = vit(position=position, stem="patch"), torch.randn(1, 1, 24, 24)
    a = backbone.features(image)[0].x
    b = backbone.features(image.transpose(2, 3))[0].x.transpose(2, 3)
    assert (a - b).abs().max() > 1e-3


def test_rotary_attention_sees_differences_of_position_alone():
    """The product of a rotated query and a rotated key is the same wherever the pair stands."""
    q, k = torch.randn(2, 1, 1, 2, 16)
    angle = torch.rand(8)

    def product(at_q: float, at_k: float) -> torch.Tensor:
        angles = torch.stack([at_q * angle, at_k * angle])[None]
        turned = [rotate(x, angles.cos(), angles.sin()) for x in (q, k)]
        return (turned[0][0, 0, 0] * turned[1][0, 0, 1]).sum()

    torch.testing.assert_close(product(1.0, 3.5), product(-4.0, -1.5))
    torch.testing.assert_close(rotate(q, angle[None, None].cos(), angle[None, None].sin())[:, :, 0], q[:, :, 0])


def test_sincos_positions_mean_the_same_place_in_images_of_other_sizes():
    small, large = sincos((3, 5), 16, torch.device("cpu")), sincos((7, 9), 16, torch.device("cpu"))
    torch.testing.assert_close(small.view(3, 5, 16), large.view(7, 9, 16)[2:5, 2:7])
    assert torch.pdist(large).min() > 0.1


def test_learned_positions_are_interpolated():
    backbone = vit(position="learned", stem="patch")
    with torch.no_grad():
        backbone.position.table.copy_(torch.linspace(0, 1, 3).view(1, 1, 3))
    x = torch.zeros(1, 36, 32)
    moved, _ = backbone.position(Tokens(x, (6, 6), torch.arange(36)[None]))
    row = moved[0, :6, 0]
    assert (row.diff() > 0).all()
    torch.testing.assert_close(row + row.flip(0), torch.ones(6))


def test_registers_change_the_tokens_and_are_dropped():
    images = torch.randn(1, 1, 24, 24)
    assert vit(registers=3).features(images)[0].x.shape == vit().features(images)[0].x.shape == (1, 32, 3, 3)


def test_drop_path_skips_blocks_in_training_alone():
    images = torch.randn(4, 1, 24, 24)
    backbone = vit(drop_path=0.9)
    plain = vit()
    plain.load_state_dict(backbone.state_dict())
    assert torch.equal(backbone.features(images)[0].x, plain.features(images)[0].x)
    backbone.train()
    assert not torch.equal(backbone.features(images)[0].x, plain.features(images)[0].x)


@pytest.mark.parametrize(("size", "millions"), [("tiny", 0.90), ("small", 21.9), ("base", 87.3)])
def test_sizes(size, millions):
    with torch.device("meta"):
        backbone = VisionTransformer(64, 1, size=size, patch=8)
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize(
    ("size", "channels", "cells", "millions"), [("classifier-3x3", 3, 81, 12.46), ("autoencoder-4x4", 1, 25, 3.40)]
)
def test_sizes_of_their_own_patch(size, channels, cells, millions):
    """With a class token and positions, as they were made; ``classifier-3x3`` was published with 12.5 M parameters."""
    options = {"size": size, "position": "learned", "registers": 1, "uneven": "crop"}
    with torch.device("meta"):
        backbone = VisionTransformer(150, channels, **options)
        tokens = backbone.tokenize(torch.empty(1, channels, 150, 150))
    assert tokens.x.shape[1] == cells
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, rel=0.003)


def test_options_override_what_a_size_brings():
    with torch.device("meta"):
        backbone = VisionTransformer(150, 1, size="classifier-3x3", dim=48, mlp=20, patch=8, stem="conv")
    assert (backbone.stride, backbone.dim, backbone.blocks[0].mlp[0].out_features) == (8, 48, 20)
    assert isinstance(backbone.stem, torch.nn.Sequential)


@pytest.mark.parametrize("side", [24, 136])
def test_autocast_to_bfloat16(side):
    """Features and gradients are those of float32 to its precision, for short and for long sequences."""
    backbone, images = vit(registers=1, position="rotary"), torch.randn(2, 1, side, side)
    weights = torch.randn(2, 32, side // 8, side // 8)
    found = []
    for enabled in (True, False):
        backbone.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            features = backbone.features(images)[0].x
        (features.float() * weights).sum().backward()
        found.append((features.float(), backbone.blocks[0].attention.qkv.weight.grad.clone()))
    for low, full in zip(*found, strict=True):
        assert (low - full).norm() < 0.05 * full.norm()


@pytest.mark.slow
@pytest.mark.parametrize("position", ["sincos", "learned", "rotary"])
def test_compiles_in_one_graph(position):
    backbone, images = vit(position=position, registers=1), torch.randn(2, 1, 20, 24)
    compiled = torch.compile(backbone.features, fullgraph=True)(images)[0].x
    torch.testing.assert_close(compiled, backbone.features(images)[0].x, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dim": 30}, "multiple of 4 \\* heads = 16"),
        ({"depth": 0}, "positive"),
        ({"patch": 6}, "power of two, got 6"),
        ({"drop_path": 1.0}, "drop_path"),
        ({"eps": 0.0}, "eps must be positive"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        vit(**options)


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="1 channel"):
        vit().features(torch.randn(1, 3, 24, 24))
    with pytest.raises(InputError, match="holds no patch of 8"):
        vit(uneven="crop").features(torch.randn(1, 1, 7, 24))

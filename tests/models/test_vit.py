"""The vision transformer against an independent implementation, and its properties."""

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


def from_transformers(state: dict[str, torch.Tensor], side: int) -> dict[str, torch.Tensor]:
    """Weights of transformers' ViT under our names. Its class token, with its position, is a register here."""
    ours = {
        "stem.weight": state["embeddings.patch_embeddings.projection.weight"],
        "stem.bias": state["embeddings.patch_embeddings.projection.bias"],
        "registers": state["embeddings.cls_token"][0] + state["embeddings.position_embeddings"][0, :1],
        "position.table": state["embeddings.position_embeddings"][0, 1:].T.unflatten(1, (side, side)),
        "norm.weight": state["layernorm.weight"],
        "norm.bias": state["layernorm.bias"],
    }
    names = {"norm1": "layernorm_before", "norm2": "layernorm_after", "attention.out": "attention.o_proj"}
    names |= {"mlp.0": "mlp.fc1", "mlp.2": "mlp.fc2"}
    for layer in sorted({int(key.split(".")[1]) for key in state if key.startswith("layers.")}):
        for kind in ("weight", "bias"):
            for our, their in names.items():
                ours[f"blocks.{layer}.{our}.{kind}"] = state[f"layers.{layer}.{their}.{kind}"]
            parts = [state[f"layers.{layer}.attention.{part}_proj.{kind}"] for part in "qkv"]
            ours[f"blocks.{layer}.attention.qkv.{kind}"] = torch.cat(parts)
    return ours


@pytest.mark.parametrize(("channels", "size"), [(1, 24), (3, 24), (1, 29)])
def test_agrees_with_transformers(channels, size):
    """Same weights, same tokens; 29 pixels are not a multiple of the patch, and transformers ignores the far edge."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, image_size=24,
        patch_size=8, num_channels=channels, layer_norm_eps=1e-6, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(1)
    peer = transformers.ViTModel(config, add_pooling_layer=False).eval()
    for parameter in peer.parameters():  # biases and norms begin at 0 and 1, where a wrong mapping would not show
        torch.nn.init.normal_(parameter, std=0.2)
    ours = vit(24, channels, stem="patch", position="learned", registers=1, mlp=48)
    ours.load_state_dict(from_transformers(peer.state_dict(), side=3), strict=True)
    images = torch.randn(2, channels, size, size)
    with torch.no_grad():
        theirs = peer(images[..., :24, :24]).last_hidden_state[:, 1:]
        tokens = ours.encode(ours.tokenize(images[..., :24, :24])).x
    torch.testing.assert_close(tokens, theirs, rtol=1e-5, atol=1e-5)


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

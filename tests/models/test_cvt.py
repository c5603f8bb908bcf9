"""The convolutional vision transformer against an independent implementation, and its properties."""

from __future__ import annotations

import pytest
import torch

from arcformer.errors import InputError
from arcformer.models import ConvolutionalVisionTransformer
from arcformer.models.check import check_backbone

TINY = {"dims": (16, 32), "depths": (1, 2), "heads": (1, 2)}


def cvt(channels=1, **options):
    torch.manual_seed(0)
    return ConvolutionalVisionTransformer(48, channels, **{**TINY, **options}).eval()


def from_transformers(state: dict[str, torch.Tensor], heads: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Weights of transformers' CvT under our names.

    It divides the products of queries and keys by the root of the width, we by that of the width of a head.
    """
    names = {
        "convolution_projection_query.convolution_projection.convolution": "q.conv",
        "convolution_projection_key.convolution_projection.convolution": "k.conv",
        "convolution_projection_value.convolution_projection.convolution": "v.conv",
        "convolution_projection_query.convolution_projection.normalization": "q.norm",
        "convolution_projection_key.convolution_projection.normalization": "k.norm",
        "convolution_projection_value.convolution_projection.normalization": "v.norm",
        "projection_query": "q.linear",
        "projection_key": "k.linear",
        "projection_value": "v.linear",
        "attention.attention": "attention",
        "attention.output.dense": "attention.out",
        "intermediate.dense": "mlp.0",
        "output.dense": "mlp.2",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "embedding.convolution_embeddings.projection": "embedding",
        "embedding.convolution_embeddings.normalization": "norm",
        "layers": "blocks",
        "encoder.": "",
    }
    ours = {}
    for key, tensor in state.items():
        for their, our in names.items():
            key = key.replace(their, our)
        if "q.linear" in key:
            tensor = tensor * heads[int(key.split(".")[1])] ** -0.5
        ours[key] = tensor
    return ours


@pytest.mark.parametrize(("height", "width"), [(48, 48), (61, 50)])
def test_agrees_with_transformers(height, width):
    transformers = pytest.importorskip("transformers")
    config = transformers.CvtConfig(
        num_channels=1, patch_sizes=[7, 3], patch_stride=[4, 2], patch_padding=[3, 1], embed_dim=[16, 32],
        num_heads=[1, 2], depth=[1, 2], mlp_ratio=[4.0, 4.0], cls_token=[False, False], drop_path_rate=[0.0, 0.0],
        attention_drop_rate=[0.0, 0.0], drop_rate=[0.0, 0.0], qkv_bias=[True, True], kernel_qkv=[3, 3],
        padding_kv=[1, 1], stride_kv=[2, 2], padding_q=[1, 1], stride_q=[1, 1],
        qkv_projection_method=["dw_bn", "dw_bn"],
    )  # fmt: skip
    torch.manual_seed(1)
    peer = transformers.CvtModel(config).eval()
    for name, tensor in peer.state_dict().items():  # norms begin at 0 and 1, where a wrong mapping would not show
        if tensor.is_floating_point():
            torch.nn.init.uniform_(tensor, 0.5, 1.5) if "running_var" in name else torch.nn.init.normal_(
                tensor, std=0.3
            )
    for module in peer.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6
    ours = cvt()
    ours.norm = torch.nn.LayerNorm(32, elementwise_affine=False, eps=1e-6)  # transformers has none at the end
    ours.load_state_dict(from_transformers(peer.state_dict(), (1, 2)), strict=True)
    images = torch.randn(2, 1, height, width)
    with torch.no_grad():
        theirs = list(peer(images, output_hidden_states=True).hidden_states)
        maps = ours.features(images)
    theirs[-1] = ours.norm(theirs[-1].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    for our, their in zip(maps, theirs, strict=True):
        torch.testing.assert_close(our.x, their, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{"norm": "group", "drop_path": 0.1}, {"patch": 2}])
def test_keeps_the_contract_with_other_options(options):
    check_backbone(ConvolutionalVisionTransformer, **TINY, **options)


def test_a_map_for_each_stage_finest_first():
    maps = ConvolutionalVisionTransformer(64, 1).eval().features(torch.randn(2, 1, 64, 50))
    assert [tuple(m.x.shape) for m in maps] == [(2, 32, 16, 13), (2, 64, 8, 7), (2, 128, 4, 4)]
    assert [m.stride for m in maps] == [4, 8, 16]


def test_what_is_far_from_the_edge_moves_with_the_image():
    """No positions: an image moved by a cell of the coarsest keys has its tokens moved, where its frame is not seen.

    Attention is global, so the background must hold nothing that moves in or out: here it is zero everywhere.
    """
    backbone, image = cvt(depths=(1, 1)), torch.zeros(1, 1, 96, 96)
    image[..., 32:48, 32:48] = torch.randn(16, 16)
    here, moved = (backbone.features(x)[0].x for x in (image, image.roll((16, 16), (2, 3))))
    torch.testing.assert_close(moved[..., 10:20, 10:20], here[..., 6:16, 6:16], rtol=1e-3, atol=1e-4)


def test_keys_are_never_squeezed_to_one():
    """On a grid of two by two each cell is a key of its own, so queries and keys learn."""
    backbone = cvt()
    backbone.features(torch.randn(1, 1, 16, 16))[-1].x.square().sum().backward()
    assert backbone.stages[1].blocks[0].attention.q.linear.weight.grad.abs().max() > 0


@pytest.mark.parametrize(("size", "millions"), [("tiny", 1.02), ("small", 19.6)])
def test_sizes(size, millions):
    with torch.device("meta"):
        backbone = ConvolutionalVisionTransformer(64, 1, size=size)
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dims": (16, 32, 64)}, "one number a stage"),
        ({"heads": (1, 3)}, "32 is not a multiple of its 3 heads"),
        ({"depths": (0, 1)}, "positive"),
        ({"drop_path": -0.1}, "drop_path"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        cvt(**options)


def test_other_channels_are_refused():
    with pytest.raises(InputError, match="cvt was built for 1 channel"):
        cvt().features(torch.randn(1, 3, 48, 48))

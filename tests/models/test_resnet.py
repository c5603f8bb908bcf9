"""The residual network against an independent implementation, and its properties."""

from __future__ import annotations

import pytest
import torch

from arcformer.errors import InputError
from arcformer.models import ResNet
from arcformer.models.check import check_backbone
from arcformer.models.norm import BatchNorm


def resnet(channels=1, **options):
    torch.manual_seed(0)
    return ResNet(64, channels, **options).eval()


def from_transformers(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of transformers' ResNet under our names."""
    names = {
        "embedder.embedder.convolution": "stem.0",
        "embedder.embedder.normalization": "stem.1",
        "encoder.": "",
        "layers.": "",
        "layer.0.convolution": "conv1",
        "layer.0.normalization": "norm1",
        "layer.1.convolution": "conv2",
        "layer.1.normalization": "norm2",
        "shortcut.convolution": "shortcut.0",
        "shortcut.normalization": "shortcut.1",
    }
    ours = {}
    for key, tensor in state.items():
        for their, our in names.items():
            key = key.replace(their, our)
        ours[key] = tensor
    return ours


@pytest.mark.parametrize(("height", "width"), [(64, 64), (75, 50)])
def test_agrees_with_transformers(height, width):
    """Same weights, same maps of all four stages, with the published stem."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        num_channels=1, embedding_size=8, hidden_sizes=[8, 16, 32, 64], depths=[2, 2, 2, 2], layer_type="basic"
    )
    torch.manual_seed(1)
    peer = transformers.ResNetModel(config).eval()
    for name, tensor in peer.state_dict().items():  # norms begin at 0 and 1, where a wrong mapping would not show
        if "running_var" in name:
            torch.nn.init.uniform_(tensor, 0.5, 1.5)
        elif tensor.ndim == 1:
            torch.nn.init.normal_(tensor, std=0.5)
    ours = resnet(size="resnet18", width=8)
    ours.load_state_dict(from_transformers(peer.state_dict()), strict=True)
    images = torch.randn(2, 1, height, width)
    with torch.no_grad():
        theirs, maps = peer(images, output_hidden_states=True).hidden_states[1:], ours.features(images)
    for our, their in zip(maps, theirs, strict=True):
        torch.testing.assert_close(our.x, their, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{"norm": "group"}, {"size": "resnet18", "width": 8}, {"depths": (1, 1)}])
def test_keeps_the_contract_with_other_options(options):
    check_backbone(ResNet, **{"width": 8, **options})


@pytest.mark.parametrize(
    ("options", "strides"),
    [
        ({"size": "tiny"}, [2, 4, 8, 16]),
        ({"size": "resnet18", "width": 8}, [4, 8, 16, 32]),
        ({"size": "resnet18", "width": 8, "stem": "3x3", "stem_stride": 1}, [1, 2, 4, 8]),
    ],
)
def test_stems_set_the_strides(options, strides):
    maps = resnet(**options).features(torch.randn(1, 1, 64, 32))
    assert [m.stride for m in maps] == strides
    assert [m.x.shape[2:] for m in maps] == [(64 // s, 32 // s) for s in strides]


def test_sees_only_what_is_near():
    """What a transformer is compared with: a cell of the first map does not know of the other end of the image."""
    backbone, image = resnet(depths=(1, 1)), torch.randn(1, 1, 64, 64)
    other = image.clone()
    other[..., 40:] += 1
    here, there = (backbone.features(x)[0].x for x in (image, other))
    torch.testing.assert_close(here[..., :15], there[..., :15])
    assert not torch.equal(here, there)


def test_one_value_a_channel_is_normalised_by_running_statistics():
    norm, x = BatchNorm(4).train(), torch.randn(1, 4, 1, 1)
    torch.testing.assert_close(norm(x), x / (1 + norm.eps) ** 0.5)
    assert norm.num_batches_tracked == 0
    norm(torch.randn(2, 4, 1, 1))
    assert norm.num_batches_tracked == 1


@pytest.mark.parametrize(("size", "millions"), [("tiny", 1.09), ("resnet18", 11.17)])
def test_sizes(size, millions):
    with torch.device("meta"):
        backbone = ResNet(64, 1, size=size)
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)


def test_options_and_images_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="positive"):
        resnet(width=0)
    with pytest.raises(InputError, match="resnet was built for 1 channel"):
        resnet().features(torch.randn(1, 3, 64, 64))

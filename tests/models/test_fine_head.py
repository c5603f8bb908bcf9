"""The head that shuffles maps of any stride to a finer grid; and networks whose cells are pixels."""

from __future__ import annotations

import pytest
import torch
from small import FAMILIES, small

from arcformer.errors import InputError
from arcformer.models import BACKBONES, RCAN, FeatureMap, FineHead, SwinIR
from arcformer.models.check import check_backbone


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("factor", [2, 4])
def test_any_family_gives_finer_images_of_any_size(name: str, factor: int) -> None:
    backbone = small(name).eval()
    maps = [(m.x.shape[1], m.stride) for m in backbone.features(torch.zeros(1, 1, 32, 32))]
    head = FineHead(maps, 1, 3, factor, width=8)
    for height, width in ((32, 32), (37, 45)):
        images = torch.randn(2, 1, height, width)
        fine = head(backbone.features(images), images)
        assert fine.shape == (2, 3, factor * height, factor * width)
        assert not fine.any()  # until it has learned something
    torch.nn.init.normal_(head.last.weight)
    head(backbone.features(images), images).square().mean().backward()
    for parameter in head.parameters():
        assert parameter.grad is not None
        assert parameter.grad.any()


def test_a_cell_becomes_its_own_pixels() -> None:
    """Of a map alone, without what is near to it, pixels of the finer image follow the cell in their place."""
    torch.manual_seed(0)
    head = FineHead([(3, 8)], 1, 1, 2, width=4)
    torch.nn.init.normal_(head.last.weight)
    images = torch.zeros(1, 1, 32, 32)
    at_rest, changed = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    changed[:, :, 1, 2] = 5.0
    moved = (head([FeatureMap(changed, 8)], images) - head([FeatureMap(at_rest, 8)], images)).abs()[0, 0] > 1e-6
    rows, columns = (moved.any(axis).nonzero()[:, 0] for axis in (1, 0))
    reach = 2 * 2  # two convolutions of 3 x 3 at the pixels of the image
    assert (int(rows.min()), int(rows.max())) == (16 - reach, 31 + reach)
    assert (int(columns.min()), int(columns.max())) == (32 - reach, 47 + reach)


@pytest.mark.parametrize(
    "options", [{}, {"channel_attention": True}, {"dim": 12, "depths": (1, 2), "heads": 3, "window": 7}]
)
def test_swinir_keeps_the_contract(options) -> None:
    check_backbone(SwinIR, **options)


@pytest.mark.parametrize(
    ("name", "size", "millions"),
    [
        ("swinir", "tiny", 0.072),
        ("swinir", "light", 0.98),
        ("swinir", "small", 11.7),
        ("rcan", "tiny", 0.18),
        ("rcan", "rcan", 15.3),
    ],
)
def test_sizes(name: str, size: str, millions: float) -> None:
    with torch.device("meta"):
        backbone = BACKBONES.get(name)(64, 1, size=size)
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)


def test_channel_attention_sees_beyond_the_window() -> None:
    """A change at one corner is felt at the other, further than windows and convolutions reach."""

    def felt(**options) -> bool:
        torch.manual_seed(0)
        backbone = SwinIR(64, 1, dim=8, depths=(2,), heads=2, window=4, **options).eval()
        images = torch.randn(1, 1, 64, 64)
        other = images.clone()
        other[..., 0, 0] += 100
        with torch.no_grad():
            one, two = (backbone.features(i)[0].x[..., -1, -1] for i in (images, other))
        return not torch.equal(one, two)

    assert felt(channel_attention=True)
    assert not felt()


@pytest.mark.parametrize(
    ("cls", "options", "words"),
    [
        (SwinIR, {"size": "tyni"}, "unknown size of swinir 'tyni'.*tiny"),
        (SwinIR, {"dim": 10, "heads": 3}, "swinir: width 10 of stage 1 is not a multiple of its 3 heads"),
        (SwinIR, {"window": 0}, "swinir: sizes must be positive"),
        (SwinIR, {"drop_path": 1.0}, "swinir: drop_path is a probability"),
        (RCAN, {"groups": 0}, "rcan: sizes must be positive"),
        (RCAN, {"size": "rcna"}, "unknown size of rcan 'rcna'.*rcan"),
    ],
)
def test_bad_options_are_named(cls, options, words) -> None:
    with pytest.raises(InputError, match=words):
        cls(32, 1, **options)

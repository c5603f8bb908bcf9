"""Windows, shifts and padding of the Swin Transformer V2."""

from __future__ import annotations

import math

import pytest
import torch

from arcformer.errors import InputError
from arcformer.models import SwinV2
from arcformer.models.check import check_backbone
from arcformer.models.windows import Attention, Block, PositionBias

SMALL = {"dim": 12, "depths": (2, 2), "heads": (2, 3)}


def swin(image_size=32, channels=1, **options):
    torch.manual_seed(0)
    return SwinV2(image_size, channels, **{**SMALL, **options}).eval()


def block(window=4):
    """One block whose weights are large enough for every path to be seen."""
    torch.manual_seed(0)
    made = Block(8, 2, window, 16, 0.0).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return made


@pytest.mark.parametrize(
    "options", [{}, SMALL | {"window": 3, "patch": 2}, SMALL | {"depths": (1, 2, 1), "heads": (1, 2, 4)}]
)
def test_keeps_the_contract(options):
    check_backbone(SwinV2, **options)


@pytest.mark.parametrize(("size", "millions"), [("tiny", 1.20), ("small", 27.6)])
def test_sizes(size, millions):
    with torch.device("meta"):
        backbone = SwinV2(64, 1, size=size)
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize(
    ("height", "width", "grids"),
    [
        (64, 64, [(16, 16), (8, 8), (4, 4), (2, 2)]),
        (37, 150, [(10, 38), (5, 19), (3, 10), (2, 5)]),
        (1, 5, [(1, 2)] + 3 * [(1, 1)]),
    ],
)
def test_one_map_a_stage_for_any_size(height, width, grids):
    backbone = swin(64, 2, depths=(2, 2, 3, 1), heads=(1, 2, 3, 4), window=8)
    maps = backbone.features(torch.randn(1, 2, height, width))
    assert [tuple(m.x.shape) for m in maps] == [(1, 12 * 2**i, *grid) for i, grid in enumerate(grids)]
    assert [m.stride for m in maps] == [4, 8, 16, 32]
    assert backbone.dim == 96


def test_windows_are_no_larger_than_the_grid_of_most_images():
    backbone = swin(40, window=8, depths=(1, 1, 1), heads=(1, 1, 1))
    assert [stage.window for stage in backbone.stages] == [8, 5, 3]


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (12, 8), (5, 7), (9, 4), (3, 6), (2, 2)])
def test_a_cell_sees_its_own_window_and_no_other(height, width, shift):
    """What each cell depends on, by gradients, is the part of the image that its window covers, found cell by cell.

    Shifted windows are a lattice that begins two cells later; it does not wrap around the edges.
    """

    def window_of(cell: int, side: int) -> int:
        moved = shift if side > 4 else 0  # one window holds the whole axis
        return (cell + (-side % 4) // 2 - moved) // 4

    x = torch.randn(1, height, width, 8, requires_grad=True)
    out = block()(x, shift)
    for row in range(height):
        for column in range(width):
            (slope,) = torch.autograd.grad(out[0, row, column, 0], x, retain_graph=True)
            seen = {tuple(cell) for cell in slope[0].any(2).nonzero().tolist()}
            here = (window_of(row, height), window_of(column, width))
            cells = [(i, j) for i in range(height) for j in range(width)]
            assert seen == {c for c in cells if (window_of(c[0], height), window_of(c[1], width)) == here}


@pytest.mark.parametrize("shift", [0, 2])
def test_padding_does_not_dilute_attention(shift):
    """The mean of equal values is that value; cells that were added, with other values, would change it."""
    made = block()
    attention = made.attention
    with torch.no_grad():
        attention.v.bias.zero_()
    cell = torch.randn(8)
    found = made._windowed(cell.expand(1, 5, 7, 8), shift)
    torch.testing.assert_close(found, attention.out(attention.v(cell)).expand(1, 5, 7, 8))


def test_a_pixel_reaches_the_whole_image_through_stages():
    """One block keeps it in its window; four, with a merging, carry it further."""
    backbone, images = swin(), torch.randn(1, 1, 32, 32)
    moved = images.clone()
    moved[..., 0, 0] += 5
    with torch.no_grad():
        fine, coarse = ((a.x - b.x).abs().amax(1)[0] for a, b in zip(backbone(images), backbone(moved), strict=True))
    assert fine[:6, :6].min() > 0  # of 8 x 8 cells: a window of 4, and what windows shifted by 2 add to it
    assert fine[6:].max() == fine[:, 6:].max() == 0
    assert coarse.min() > 0


def test_products_are_cosines_times_a_bounded_scale():
    """Queries and keys of any length give the same attention; a scale above 100 is 100."""
    attention, x = Attention(8, 2, 2), torch.randn(3, 5, 4, 8)
    with torch.no_grad():
        attention.q.bias.normal_()
        before = attention(x)
        for parameter in (attention.q.weight, attention.q.bias, attention.k.weight):
            parameter.mul_(7)
        torch.testing.assert_close(attention(x), before)
        attention.log_scale.fill_(math.log(100.0))
        most = attention(x)
        assert not torch.allclose(most, before)
        attention.log_scale.fill_(9.0)
        torch.testing.assert_close(attention(x), most)


def test_position_bias_depends_on_the_step_between_two_cells():
    bias = PositionBias(2, 3)()
    assert bias.shape == (2, 9, 9)
    assert 0 < bias.min() < bias.max() < 16
    cells = [(i, j) for i in range(3) for j in range(3)]
    groups: dict[tuple[int, int], set[float]] = {}
    for q, a in enumerate(cells):
        for k, b in enumerate(cells):
            groups.setdefault((a[0] - b[0], a[1] - b[1]), set()).add(bias[0, q, k].item())
    assert len(groups) == 25
    assert all(len(values) == 1 for values in groups.values())
    assert len(set.union(*groups.values())) == 25


def test_position_bias_of_larger_windows_is_the_same_function():
    """At the steps that two windows have in common after scaling, corner to corner and none, they agree."""
    small, large = PositionBias(2, 3), PositionBias(2, 5)
    large.load_state_dict(small.state_dict())
    torch.testing.assert_close(small()[:, [0, 0], [0, 8]], large()[:, [0, 0], [0, 24]])
    torch.testing.assert_close(small()[:, 0, 1], large()[:, 0, 2])


def test_empty_sky_has_gradients_of_ordinary_size():
    """Unit vectors and norms of what is exactly zero would make them as large as 1e12."""
    largest = []
    for sky in (torch.zeros(1, 1, 32, 32), torch.randn(1, 1, 32, 32)):
        backbone = swin()
        sky[..., 8:12, 8:12] += 1
        (backbone.features(sky)[-1].x * torch.randn(1, 24, 4, 4)).sum().backward()
        largest.append(max(float(p.grad.abs().max()) for p in backbone.parameters()))
    assert largest[0] < 30 * largest[1]


def test_the_flux_of_an_image_is_seen():
    """The norm of the stem makes patches alike in size; half the flux is told by what the bias adds."""
    backbone, images = swin(), torch.rand(1, 1, 32, 32)
    a, b = (backbone.features(scale * images)[0].x for scale in (1.0, 0.5))
    assert (a - b).norm() > 0.05 * a.norm()


def test_masks_made_in_inference_serve_training():
    backbone, images = swin(), torch.randn(1, 1, 44, 52)
    with torch.inference_mode():
        before = backbone.features(images)[-1].x
    after = backbone.features(images)[-1].x
    after.sum().backward()
    torch.testing.assert_close(before, after)


def test_drop_path_skips_blocks_in_training_alone():
    images = torch.randn(4, 1, 32, 32)
    backbone, plain = swin(drop_path=0.9), swin()
    plain.load_state_dict(backbone.state_dict())
    assert torch.equal(backbone.features(images)[-1].x, plain.features(images)[-1].x)
    backbone.train()
    assert not torch.equal(backbone.features(images)[-1].x, plain.features(images)[-1].x)


def test_autocast_to_bfloat16():
    """Features and gradients are those of float32 to its precision."""
    backbone, images, weights = swin(dim=96, heads=(3, 6)), torch.randn(2, 1, 40, 40), torch.randn(2, 192, 5, 5)
    found = []
    for enabled in (True, False):
        backbone.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            features = backbone.features(images)[-1].x
        (features.float() * weights).sum().backward()
        found.append((features.float(), backbone.stages[0].blocks[1].mlp[0].weight.grad.clone()))
    for low, full in zip(*found, strict=True):
        assert (low - full).norm() < 0.05 * full.norm()


@pytest.mark.slow
def test_compiles_in_one_graph():
    backbone, images = swin(), torch.randn(2, 1, 36, 44)
    compiled = torch.compile(backbone.features, fullgraph=True)(images)
    for a, b in zip(compiled, backbone.features(images), strict=True):
        torch.testing.assert_close(a.x, b.x, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depths": (2,)}, r"one number a stage, got \(2,\) and \(2, 3\)"),
        ({"depths": (), "heads": ()}, "one number a stage"),
        ({"heads": (2, 5)}, "width 24 of stage 2 is not a multiple of its 5 heads"),
        ({"depths": (2, 0)}, "positive"),
        ({"window": 0}, "positive"),
        ({"drop_path": 1.0}, "drop_path"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        swin(**options)


def test_images_of_other_channels_are_refused():
    with pytest.raises(InputError, match=r"swin was built for 1 channel\(s\), the images have 3"):
        swin().features(torch.randn(1, 3, 32, 32))

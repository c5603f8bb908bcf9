"""The lens against the simulator's and against its convergence; the source behind it; what is left over."""

from __future__ import annotations

import pytest
import torch
from oracles import BOTH, bits, deflections
from torch import Tensor

from arcformer.errors import InputError
from arcformer.models import Sourceformer
from arcformer.models.position import rotate
from arcformer.models.source_plane import (
    ELLIPTICITY,
    OFFSET,
    PARAMETERS,
    ROUND,
    SHEAR,
    THETA_E,
    _places,
    bounded,
    deflection,
)
from arcformer.sim.lens import point_mass_deflection

LENS = {"theta_E": 0.5, "e1": 0.1, "e2": -0.05, "x": 0.02, "y": -0.03, "gamma1": 0.03, "gamma2": 0.02}
SOURCE, WIDTH = (0.06, -0.04), 0.06
"""A Gaussian, in half widths."""


def sourceformer(image_size=32, channels=1, **options) -> Sourceformer:
    torch.manual_seed(0)
    return Sourceformer(image_size, channels, **{"dim": 32, "depth": 2, "heads": 2, **options}).eval()


def lens(dtype=torch.float32, **changed: float) -> dict[str, Tensor]:
    return {name: torch.tensor([value], dtype=dtype) for name, value in {**LENS, **changed}.items()}


def lensed(side: int, subhalo: tuple[float, float] | None = None, **changed: float) -> Tensor:
    """An image (1, 1, side, side) of the Gaussian, with a point mass at ``subhalo``; 9 rays a pixel."""
    x, y = _places((3 * side, 3 * side), torch.device("cpu"))
    ax, ay = deflection(lens(**changed), x, y, core=1e-4)
    if subhalo is not None:
        at = [torch.tensor([[value]]) for value in (*subhalo, 0.06)]
        bx, by = point_mass_deflection(*at, x, y)
        ax, ay = ax + bx, ay + by
    square = (x - ax - SOURCE[0]) ** 2 + (y - ay - SOURCE[1]) ** 2
    rays = torch.exp(-0.5 * square / WIDTH**2).view(1, 1, 3 * side, 3 * side)
    return torch.nn.functional.avg_pool2d(rays, 3)


@pytest.mark.parametrize("dtype", BOTH.values(), ids=BOTH)
def test_deflection_is_the_simulators(dtype):
    ours, theirs = deflections(dtype, lenses=50, seed=0)
    assert theirs.abs().max() > 0.5
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5, check_dtype=False)


@pytest.mark.parametrize(("e1", "e2"), [(0.0, 0.0), (0.2, 0.1), (-0.1, 0.3)])
def test_its_divergence_is_the_convergence(e1, e2):
    """kappa = theta_E / (2 sqrt(q u^2 + v^2 / q)) on the axes of the ellipse; shear and centre add nothing."""
    x = (0.3 * torch.randn(40, dtype=torch.float64)).requires_grad_()
    y = (0.3 * torch.randn(40, dtype=torch.float64)).requires_grad_()
    p = lens(torch.float64, e1=e1, e2=e2)
    ax, ay = deflection(p, x, y, core=0.0)
    xx, xy = torch.autograd.grad(ax.sum(), (x, y), retain_graph=True)
    yx, yy = torch.autograd.grad(ay.sum(), (x, y))
    ellipticity, phi = torch.hypot(p["e1"], p["e2"]), torch.atan2(p["e2"], p["e1"]) / 2
    q = (1 - ellipticity) / (1 + ellipticity)
    dx, dy = x - p["x"], y - p["y"]
    u, v = dx * phi.cos() + dy * phi.sin(), dy * phi.cos() - dx * phi.sin()
    kappa = p["theta_E"] / 2 / (q * u**2 + v**2 / q).sqrt()
    torch.testing.assert_close((xx + yy) / 2, kappa, rtol=2e-4, atol=0)
    torch.testing.assert_close(xy, yx, rtol=0, atol=1e-3)  # it is a gradient


def test_smooth_through_the_round_lens_and_its_centre():
    x, y = _places((9, 9), torch.device("cpu"))  # the middle pixel is on the centre
    raw = torch.zeros(1, 7, requires_grad=True)
    a = torch.cat(deflection(bounded(raw), x, y))
    (slope,) = torch.autograd.grad(a.square().sum(), raw)
    assert slope.isfinite().all()
    step = 1e-3 * torch.eye(7)
    for moved in (step, -step):
        b = deflection(bounded(moved), x, y)
        assert (torch.stack(b)[:, 1:3] - a[:, None]).abs().max() < 2e-3  # as far for an ellipticity of either sign


def test_lens_is_bounded_and_begins_round():
    begun = {name: value.item() for name, value in sourceformer().lens_parameters(torch.randn(1, 1, 20, 30)).items()}
    assert begun.pop("theta_E") == pytest.approx(ROUND)
    assert set(begun) == set(PARAMETERS[1:])
    assert not any(begun.values())
    far = bounded(1e3 * torch.randn(200, 7))
    assert far["theta_E"].min() >= THETA_E[0] - 1e-6
    assert far["theta_E"].max() <= THETA_E[1] + 1e-6
    for a, b, most in (("e1", "e2", ELLIPTICITY), ("x", "y", OFFSET), ("gamma1", "gamma2", SHEAR)):
        assert torch.hypot(far[a], far[b]).max() <= most + 1e-6


@pytest.mark.parametrize("side", [48, 61, 96])
@pytest.mark.parametrize("changed", [{}, {"e1": 0.0, "e2": 0.0, "x": 0.0, "y": 0.0, "gamma1": 0.0, "gamma2": 0.0}])
def test_the_source_is_found_behind_the_true_lens(side, changed):
    """It is where it was and about as compact, whatever the resolution, and explains the image."""
    found = sourceformer().invert(lensed(side, **changed), lens(**changed))
    light = found.source[0, 0].clamp(min=0)
    axis = torch.linspace(-1, 1, len(light)) * LENS["theta_E"]
    share_y, share_x = light.sum(1) / light.sum(), light.sum(0) / light.sum()
    x, y = (axis * share_x).sum(), (axis * share_y).sum()
    assert (x, y) == (pytest.approx(SOURCE[0], abs=0.01), pytest.approx(SOURCE[1], abs=0.01))
    spread = (((axis - x) ** 2 * share_x).sum() + ((axis - y) ** 2 * share_y).sum()) / 2
    assert WIDTH < spread.sqrt() < 1.5 * WIDTH
    assert found.misfit < 0.02
    torch.testing.assert_close(found.model + found.residual, lensed(side, **changed), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "wrong", [{"theta_E": 0.45}, {"theta_E": 0.55}, {"theta_E": 0.25}, {"e1": 0.2}, {"x": 0.1}, {"gamma2": 0.1}]
)
def test_a_wrong_lens_leaves_more_over(wrong):
    backbone, image = sourceformer(), lensed(48)
    assert backbone.invert(image, lens(**wrong)).misfit > 2 * backbone.invert(image, lens()).misfit


def test_what_the_lens_is_taught_leads_to_it():
    """From the lens that an estimator begins with, which explains the image as an arc that is little bent."""
    backbone, image = sourceformer(), lensed(48)
    raw = torch.zeros(1, 7, requires_grad=True)
    descent = torch.optim.Adam([raw], 0.02)
    for _ in range(150):
        descent.zero_grad()
        seen = backbone.invert(image, bounded(raw))
        (seen.misfit + 2 * seen.spread).sum().backward()
        descent.step()
    found = bounded(raw.detach())
    assert found["theta_E"].item() == pytest.approx(LENS["theta_E"], abs=0.02)
    assert found["e1"].item() == pytest.approx(LENS["e1"], abs=0.1)
    assert backbone.invert(image, found).misfit < 0.1


def test_it_is_taught_in_training_alone_and_moves_nothing_else():
    def gradients(teach: float, training: bool) -> dict[str, Tensor]:
        backbone = sourceformer(teach=teach).train(training)
        with torch.no_grad():
            backbone.estimator.read[2].weight.normal_(generator=torch.Generator().manual_seed(1))
        backbone(lensed(32))[0].x.square()[:, :16].sum().backward()
        return {name: p.grad for name, p in backbone.named_parameters()}

    plain, taught, more = gradients(0.0, True), gradients(1.0, True), gradients(3.0, True)
    assert all(torch.equal(plain[name], grad) for name, grad in gradients(1.0, False).items())
    for name, grad in plain.items():
        step = taught[name] - grad
        assert bool(step.any()) == name.startswith("estimator")
        torch.testing.assert_close(more[name] - grad, 3 * step, rtol=1e-3, atol=1e-5)


def test_a_subhalo_is_what_is_left_over():
    """Next to the arc it changes the residual there more than anywhere else on the arc."""
    backbone, bright = sourceformer(), lensed(48)[0, 0]
    row, column = divmod(int(bright.argmax()), 48)
    place = ((column - 23.4) / 24, (row - 23.4) / 24)  # between rays
    plain = backbone.invert(lensed(48), lens()).residual[0, 0].square()
    left = backbone.invert(lensed(48, subhalo=place), lens()).residual[0, 0].square()
    near = left[row - 5 : row + 6, column - 5 : column + 6].sum()
    assert left.sum() > 2 * plain.sum()
    assert near > 0.4 * left.sum()


def test_the_same_bits_twice():
    """Also of gradients, and of images of several channels and a size that no patch divides."""
    assert bits(seed=0) == 0


def test_where_tokens_are():
    """The middle of each patch, so that those of one pixel average to it; the same sky in other resolutions."""
    x, y = _places((32, 48), torch.device("cpu"), 8)
    fine_x, fine_y = (p.view(4, 8, 6, 8).mean((1, 3)).flatten() for p in _places((32, 48), torch.device("cpu")))
    torch.testing.assert_close(x, fine_x)
    torch.testing.assert_close(y, fine_y)
    assert y.max() == pytest.approx(0.75)
    torch.testing.assert_close(_places((64, 96), torch.device("cpu"), 16)[0], x)
    odd, _ = _places((37, 37), torch.device("cpu"), 8)  # 40 pixels, one more of them at the far end
    assert odd.mean().item() == pytest.approx(0.5 * 2 / 37)


def test_heads_can_turn_each_by_their_own_tables():
    q, angle = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 4)
    together = rotate(q, angle.cos(), angle.sin())
    for head in range(3):
        alone = rotate(q[:, [head]], angle[:, head].cos(), angle[:, head].sin())
        torch.testing.assert_close(together[:, [head]], alone)


def test_attention_depends_on_the_lens():
    backbone, images = sourceformer(), torch.randn(1, 1, 32, 32)
    before = backbone(images)[0].x
    with torch.no_grad():
        backbone.estimator.read[2].bias.add_(0.5)
        backbone.gain.zero_()  # so that the residual is not what makes the difference
        assert (before - backbone(images)[0].x).abs().max() > 1e-3


def test_autocast_to_bfloat16():
    backbone, images = sourceformer(), lensed(32).expand(2, -1, -1, -1)
    found = []
    for enabled in (True, False):
        backbone.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            features = backbone(images)[0].x
            assert backbone.invert(images).residual.dtype == torch.float32
        features.float().square()[:, :16].sum().backward()
        found.append((features.float(), backbone.blocks[0].attention.qkv.weight.grad.clone()))
    for low, full in zip(*found, strict=True):
        assert (low - full).norm() < 0.05 * full.norm()


def test_an_empty_image_is_no_fault():
    backbone = sourceformer()
    features = backbone(torch.zeros(1, 1, 32, 32))[0].x
    features.sum().backward()
    assert features.isfinite().all()
    assert all(p.grad.isfinite().all() for p in backbone.parameters() if p.grad is not None)


@pytest.mark.parametrize(("size", "millions"), [("tiny", 0.936), ("small", 22.5)])
def test_sizes(size, millions):
    with torch.device("meta"):
        backbone = Sourceformer(64, 1, size=size)
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"heads": 3, "dim": 48}, "heads must be even"),
        ({"dim": 36}, "multiple of 4 \\* heads"),
        ({"depth": 0}, "positive"),
        ({"patch": 6}, "power of two"),
        ({"source": 1}, "at least 2 cells"),
        ({"teach": -1.0}, "not be negative"),
        ({"drop_path": 1.0}, "drop_path"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        sourceformer(**options)


def test_images_of_other_channels_are_refused():
    for call in (sourceformer().features, sourceformer().lens_parameters, sourceformer().invert):
        with pytest.raises(InputError, match="1 channel"):
            call(torch.randn(1, 3, 24, 24))

"""After the projection nothing is left that a macromodel could absorb."""

from __future__ import annotations

import pytest
import torch

from arcformer.sim.instrument import pixel_grid
from arcformer.sim.lens import Macromodel
from arcformer.sim.preset import MACROMODEL
from arcformer.sim.presets import PRESETS
from arcformer.sim.projection import ABSORBING, absorbed, annulus, without
from arcformer.sim.render import draw
from arcformer.sim.scene import Scene


def some_lens(count: int = 3) -> dict[str, torch.Tensor]:
    drawn = draw(PRESETS.get("corrected/model-1"), torch.zeros(count, dtype=torch.int64), 5)
    return {name: drawn[name] for name in MACROMODEL}


def ring(p: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return annulus(p["theta_E"], p["lens_x"], p["lens_y"])


def test_what_is_smooth_is_found_whole() -> None:
    """A deflection made of the basis alone is absorbed without remainder, and its coefficients come back."""
    lens = Macromodel.of(some_lens()).stacked()
    x, y, area = ring(some_lens())
    generator = torch.Generator().manual_seed(0)
    much = 1e-2 * torch.randn(3, 3 + len(ABSORBING), generator=generator, dtype=torch.float64)
    ax, ay = without(torch.zeros_like(x), torch.zeros_like(y), lens, -much, x, y, compiled=False)
    found = absorbed(lens, ax, ay, x, y, area)
    assert torch.allclose(found, much, atol=1e-6)
    assert all(part.abs().max() < 1e-6 for part in without(ax, ay, lens, found, x, y, compiled=False))


def test_a_little_heavier_a_little_rounder_is_smooth() -> None:
    """What the macromodel itself does when its parameters change is absorbed."""
    p = some_lens()
    x, y, area = ring(p)
    steps = {"theta_E": 1e-5, "e1": 2e-5, "e2": -1e-5, "lens_x": 1e-5, "gamma1": 1e-5}
    changed = p | {name: p[name] + step for name, step in steps.items()}
    after, before = (Macromodel.unstacked(Macromodel.of(q).stacked()).deflection(x, y) for q in (changed, p))
    lens, ax, ay = Macromodel.of(p).stacked(), after[0] - before[0], after[1] - before[1]
    left = without(ax, ay, lens, absorbed(lens, ax, ay, x, y, area), x, y, compiled=False)
    assert all(float(part.abs().max()) < 1e-3 * 1e-5 * 10 for part in left)


@pytest.mark.parametrize("label", [1, 2])
def test_nothing_smooth_is_left(label: int) -> None:
    """Projected again, at the pixels instead of the points, hardly a convergence is found any more."""
    preset = PRESETS.get("corrected/model-1")
    drawn = draw(preset, torch.full((4,), label), 3)
    x, y = (axis.flatten() for axis in pixel_grid(150, 0.05, torch.float64, torch.device("cpu")))
    scene = Scene(preset, drawn, x, y, compiled=False)
    rows = torch.arange(4)
    raw, left = scene.deflectors(rows, x, y), scene.substructure(rows, x, y)
    for row in rows.tolist():
        p = {name: drawn[name][row : row + 1] for name in MACROMODEL}
        radius = torch.hypot(x - p["lens_x"], y - p["lens_y"]) / p["theta_E"]
        near = (radius > 0.5) & (radius < 1.5)
        there = x[near][None], y[near][None], torch.full((1, int(near.sum())), 1 / int(near.sum()), dtype=x.dtype)
        lens = Macromodel.of(p).stacked()
        before, after = (absorbed(lens, ax[row, near][None], ay[row, near][None], *there) for ax, ay in (raw, left))
        assert float(before[0, 2].abs()) > 5e-4
        assert float(after[0, 2].abs()) < 1e-4


def test_a_class_without_substructure_is_not_touched() -> None:
    preset = PRESETS.get("corrected/model-1")
    drawn = draw(preset, torch.zeros(2, dtype=torch.int64), 3)
    x, y = (axis.flatten() for axis in pixel_grid(20, 0.3, torch.float64, torch.device("cpu")))
    for part in Scene(preset, drawn, x, y, compiled=False).substructure(torch.arange(2), x, y):
        assert not part.any()

"""After the projection nothing is left that a macromodel could absorb."""

from __future__ import annotations

import pytest
import torch

from arcformer.sim.instrument import pixel_grid
from arcformer.sim.lens import Macromodel
from arcformer.sim.preset import MACROMODEL
from arcformer.sim.presets import PRESETS
from arcformer.sim.projection import ABSORBING, absorbed, annulus, uniform_deflection
from arcformer.sim.render import draw
from arcformer.sim.scene import Scene


def deflection(p: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return Macromodel(*Macromodel.of(p).stacked()[:, :, None].unbind()).deflection(x, y)


def some_lens(count: int = 3) -> dict[str, torch.Tensor]:
    drawn = draw(PRESETS.get("corrected/model-1"), torch.zeros(count, dtype=torch.int64), 5)
    return {name: drawn[name] for name in MACROMODEL}


def test_what_is_smooth_is_found_whole() -> None:
    """A deflection made of the basis alone is absorbed without remainder, and its coefficients come back."""
    p = some_lens()
    x, y, area = annulus(p["theta_E"], p["lens_x"], p["lens_y"])
    generator = torch.Generator().manual_seed(0)
    uniform = 1e-2 * torch.randn(3, 5, generator=generator, dtype=torch.float64)
    change = {name: 1e-5 * torch.randn(3, generator=generator, dtype=torch.float64) for name in ABSORBING}
    ax, ay = uniform_deflection(uniform, x, y)
    after, before = (deflection(p | {n: p[n] + s * change[n] for n in ABSORBING}, x, y) for s in (1, 0))
    found, changed = absorbed(deflection, p, ax + after[0] - before[0], ay + after[1] - before[1], x, y, area)
    assert torch.allclose(found, uniform, atol=1e-6)
    for name in ABSORBING:
        assert torch.allclose(changed[name], change[name], atol=1e-6)


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
        ring = (radius > 0.5) & (radius < 1.5)
        there = x[ring][None], y[ring][None], torch.full((1, int(ring.sum())), 1 / int(ring.sum()), dtype=x.dtype)
        before, _ = absorbed(deflection, p, raw[0][row, ring][None], raw[1][row, ring][None], *there)
        after, _ = absorbed(deflection, p, left[0][row, ring][None], left[1][row, ring][None], *there)
        assert float(before[0, 2].abs()) > 5e-4
        assert float(after[0, 2].abs()) < 1e-4


def test_a_class_without_substructure_is_not_touched() -> None:
    preset = PRESETS.get("corrected/model-1")
    drawn = draw(preset, torch.zeros(2, dtype=torch.int64), 3)
    x, y = (axis.flatten() for axis in pixel_grid(20, 0.3, torch.float64, torch.device("cpu")))
    for part in Scene(preset, drawn, x, y, compiled=False).substructure(torch.arange(2), x, y):
        assert not part.any()

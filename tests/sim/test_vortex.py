"""The closed form of a vortex against the point masses that it is the limit of."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arcformer.sim.lens import point_mass_deflection
from arcformer.sim.vortex import line_deflection

POINTS = 1000


def column(value: float) -> torch.Tensor:
    return torch.tensor([[value]], dtype=torch.float64)


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(0, math.pi), st.floats(0.1, 1.5), st.floats(0.02, 0.3))
def test_a_line_deflects_as_many_points(x0: float, y0: float, angle: float, half_length: float, theta_E: float) -> None:
    axis = torch.linspace(-2, 2, 24, dtype=torch.float64)
    y, x = (part.flatten() for part in torch.meshgrid(axis, axis, indexing="ij"))
    c, s = math.cos(angle), math.sin(angle)
    line = line_deflection(column(x0), column(y0), column(c), column(s), column(half_length), column(theta_E), x, y)
    along = half_length * ((torch.arange(POINTS, dtype=torch.float64) + 0.5) / POINTS * 2 - 1)
    each = torch.full((1, POINTS), theta_E / math.sqrt(POINTS), dtype=torch.float64)
    points = point_mass_deflection((x0 + along * c)[None], (y0 + along * s)[None], each, x, y)
    across = ((y - y0) * c - (x - x0) * s).abs()
    away = across > 4 * half_length / POINTS  # nearer than that, single points are seen
    for own, other in zip(line, points, strict=True):
        assert float((own - other)[0, away].abs().max()) < 1e-3 * theta_E


def test_far_away_it_is_a_point() -> None:
    x, y = torch.tensor([30.0], dtype=torch.float64), torch.tensor([40.0], dtype=torch.float64)
    ax, ay = line_deflection(*(column(v) for v in (0, 0, 0.6, 0.8, 0.5, 0.3)), x, y)
    assert abs(float(torch.hypot(ax, ay)) - 0.3**2 / 50) < 1e-6


def test_on_the_line_itself_nothing_pulls_to_a_side() -> None:
    here = torch.zeros(1, dtype=torch.float64)
    ax, ay = line_deflection(*(column(v) for v in (0, 0, 1, 0, 0.5, 0.3)), here, here)
    assert float(ax) == float(ay) == 0

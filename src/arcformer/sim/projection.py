"""What a macromodel could absorb of a substructure's deflection, so that it can be taken away.

Mass that is added to a lens moves and widens its ring, and the class of an image could be told from that alone. A
modeller would call it a heavier halo. So the deflection of the substructure is projected, by least squares over an
annulus about the ring, on everything that a smooth model has: shift, convergence, shear, and the derivatives of the
macromodel's deflection with respect to its Einstein radius, ellipticity and centre. What is left is the signal.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["ABSORBING", "absorbed", "annulus", "uniform_deflection"]

ABSORBING = ("theta_E", "e1", "e2", "lens_x", "lens_y")
"""Parameters of the macromodel whose derivatives absorb."""

INNER, OUTER = 0.5, 1.5
"""Of the annulus, in Einstein radii."""

CIRCLES, SPOKES = 12, 48

STEP = 1e-4
"""By how much a parameter is changed for a derivative, arcsec or ellipticity; in float64."""

Deflect = Callable[[dict[str, Tensor], Tensor, Tensor], tuple[Tensor, Tensor]]
"""Parameters (B,) by name and where, (B, P), to the deflection there, (B, P) each."""


def annulus(theta_E: Tensor, x0: Tensor, y0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points in the annulus about each lens, (B, P) each: x, y, and the area that each stands for, in all 1."""
    steps = torch.arange(CIRCLES, dtype=theta_E.dtype, device=theta_E.device)[:, None]
    spokes = torch.arange(SPOKES, dtype=theta_E.dtype, device=theta_E.device)
    radius = INNER + (OUTER - INNER) * (steps + 0.5) / CIRCLES
    # every second circle is turned by half a step, so that no direction is missed
    angle = (spokes + steps % 2 / 2) * (2 * math.pi / SPOKES)
    x, y = ((radius * part).flatten() for part in (angle.cos(), angle.sin()))
    area = radius.expand_as(angle).flatten()
    size = theta_E[:, None]
    return x0[:, None] + size * x, y0[:, None] + size * y, (area / area.sum()).expand(len(theta_E), -1)


def absorbed(
    macromodel: Deflect, parameters: dict[str, Tensor], ax: Tensor, ay: Tensor, x: Tensor, y: Tensor, area: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The smooth part of a deflection given in the annulus.

    Args:
        macromodel: the deflection of the lens.
        parameters: of the macromodel, (B,) each, float64.
        ax, ay: the substructure's deflection at the points of ``annulus``, (B, P) each.
        x, y, area: the points.

    Returns:
        Coefficients (B, 5) of ``uniform_deflection``, and the changes (B,) of the parameters ``ABSORBING``, to first
        order.
    """
    fields = [*_uniform(x, y), *_derivatives(macromodel, parameters, x, y)]
    basis = torch.stack([torch.cat(field, dim=-1) for field in fields], dim=2)  # (B, 2 P, 10)
    weight = torch.cat([area, area], dim=-1)[:, :, None].sqrt()
    target = torch.cat([ax, ay], dim=-1)[:, :, None]
    scale = (basis * weight).square().sum(1, keepdim=True).sqrt()
    columns = basis * weight / scale
    normal = columns.mT @ columns
    ridge = 1e-9 * torch.eye(normal.shape[-1], dtype=normal.dtype, device=normal.device)
    found = torch.linalg.solve(normal + ridge, columns.mT @ (target * weight))[..., 0] / scale[:, 0]
    return found[:, :5], dict(zip(ABSORBING, found[:, 5:].unbind(1), strict=True))


def uniform_deflection(coefficients: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Shift, convergence and shear (B, 5) as a deflection at (x, y)."""
    weights = coefficients[:, :, None].unbind(1)
    fields = _uniform(x, y)
    first, second = (sum(w * field[axis] for w, field in zip(weights, fields, strict=True)) for axis in (0, 1))
    return first, second  # pyright: ignore[reportReturnType]


def _uniform(x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
    one, none = torch.ones_like(x), torch.zeros_like(x)
    return [(one, none), (none, one), (x, y), (x, -y), (y, x)]


def _derivatives(
    macromodel: Deflect, parameters: dict[str, Tensor], x: Tensor, y: Tensor
) -> list[tuple[Tensor, Tensor]]:
    fields = []
    for name in ABSORBING:
        (ax, ay), (bx, by) = (macromodel(parameters | {name: parameters[name] + step}, x, y) for step in (STEP, -STEP))
        fields.append(((ax - bx) / (2 * STEP), (ay - by) / (2 * STEP)))
    return fields

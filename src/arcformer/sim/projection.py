"""What a macromodel could absorb of a substructure's deflection, so that it can be taken away.

Mass that is added to a lens moves and widens its ring, and the class of an image could be told from that alone. A
modeller would call it a heavier halo. So the deflection of the substructure is projected, by least squares over an
annulus about the ring, on everything that a smooth model has: shift, convergence, shear, and the derivatives of the
macromodel's deflection with respect to its Einstein radius, ellipticity and centre. What is left is the signal.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from arcformer.sim.kernels import kernel
from arcformer.sim.lens import Macromodel
from arcformer.sim.powerlaw import Vector

__all__ = ["absorbed", "annulus", "without"]

ABSORBING = ("gamma1", "gamma2", "theta_E", "q", "angle", "x0", "y0")
"""Parameters of the macromodel whose derivatives absorb, besides a shift and a sheet of convergence."""

INNER, OUTER = 0.5, 1.5
"""Of the annulus, in Einstein radii."""

CIRCLES, SPOKES = 12, 48


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


def absorbed(lens: Tensor, ax: Tensor, ay: Tensor, x: Tensor, y: Tensor, area: Tensor) -> Tensor:
    """How much of each smooth field (see ``without``) is in a deflection that is given in the annulus, (B, 10).

    Args:
        lens: the macromodel as ``Macromodel.stacked`` gives it, (13, B).
        ax, ay: the substructure's deflection at the points of ``annulus``, (B, P) each.
        x, y, area: the points.
    """
    basis = torch.stack([torch.cat([part.expand_as(x) for part in field], 1) for field in _smooth(lens, x, y)], dim=2)
    weight = torch.cat([area, area], dim=-1)[:, :, None].sqrt()
    target = torch.cat([ax, ay], dim=-1)[:, :, None]
    scale = (basis * weight).square().sum(1, keepdim=True).sqrt().clamp(min=torch.finfo(x.dtype).tiny)
    columns = basis * weight / scale
    normal = columns.mT @ columns
    ridge = 1e-9 * torch.eye(normal.shape[-1], dtype=normal.dtype, device=normal.device)
    return torch.linalg.solve(normal + ridge, columns.mT @ (target * weight))[..., 0] / scale[:, 0]


@kernel
def without(ax: Tensor, ay: Tensor, lens: Tensor, coefficients: Tensor, x: Tensor, y: Tensor) -> Vector:
    """A deflection (B, P) less so much of each smooth field at (x, y): a shift, convergence, ``ABSORBING``."""
    for much, (field_x, field_y) in zip(coefficients[..., None].unbind(1), _smooth(lens, x, y), strict=True):
        ax, ay = ax - much * field_x, ay - much * field_y
    return ax, ay


def _smooth(lens: Tensor, x: Tensor, y: Tensor) -> list[Vector]:
    one, none = torch.ones_like(x), torch.zeros_like(x)
    derivatives = Macromodel.unstacked(lens).derivatives(x, y)
    return [(one, none), (none, one), (x, y), *(derivatives[name] for name in ABSORBING)]

"""Deflection: what the lens does to a ray. Angles in arcsec, position angles in radians.

Profiles are those of caustics' functional API; only sums over them are written here. Conventions agree with
lenstronomy's without conversion (the Einstein radius of the SIE, the components of the shear), which
``benchmarks/parity.py`` shows.
"""

from __future__ import annotations

import torch
from caustics.lenses.func import (
    reduced_deflection_angle_external_shear,
    reduced_deflection_angle_sie,
)
from torch import Tensor

__all__ = ["axis_ratio_and_angle", "macromodel_deflection", "point_mass_deflection"]


def axis_ratio_and_angle(e1: Tensor, e2: Tensor) -> tuple[Tensor, Tensor]:
    """Axis ratio q and position angle phi of an ellipse with (e1, e2) = (1 - q) / (1 + q) (cos 2 phi, sin 2 phi)."""
    ellipticity = torch.hypot(e1, e2)
    return (1 - ellipticity) / (1 + ellipticity), torch.atan2(e2, e1) / 2


def macromodel_deflection(
    theta_E: Tensor, e1: Tensor, e2: Tensor, x0: Tensor, y0: Tensor, gamma1: Tensor, gamma2: Tensor, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Deflection of a singular isothermal ellipsoid with external shear about the origin.

    Args:
        theta_E, e1, e2, x0, y0: Einstein radius, ellipticity and centre, each (B, 1, 1).
        gamma1, gamma2: shear, each (B, 1, 1).
        x, y: where, (H, W) or (B, H, W).

    Returns:
        Its two components, (B, H, W).
    """
    q, phi = axis_ratio_and_angle(e1, e2)
    halo_x, halo_y = reduced_deflection_angle_sie(x0, y0, q, phi, theta_E, x, y)
    origin = torch.zeros_like(gamma1)
    shear_x, shear_y = reduced_deflection_angle_external_shear(origin, origin, gamma1, gamma2, x, y)
    return halo_x + shear_x, halo_y + shear_y


def point_mass_deflection(px: Tensor, py: Tensor, theta_E: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Deflection of N point masses together: the sum of theta_E^2 d / |d|^2.

    A loop, because a compiler makes of it one pass over the pixels, 20 times faster than a sum over a broadcast axis.
    One division for each mass and pixel is where the time goes; the profile of caustics takes a root and two.

    Args:
        px, py, theta_E: positions and Einstein radii, each (B, N).
        x, y: where, (H, W).

    Returns:
        Its two components, (B, H, W).
    """
    ax, ay = torch.zeros_like(x), torch.zeros_like(y)
    for k in range(px.shape[1]):
        x0, y0, radius = (value[:, k, None, None] for value in (px, py, theta_E))
        dx, dy = x - x0, y - y0
        pull = radius**2 / (dx**2 + dy**2)
        ax, ay = ax + pull * dx, ay + pull * dy
    return ax, ay

"""Deflection: what the lens does to a ray. Angles in arcsec; B lenses, P places.

The profiles stand here in the form that is cheapest for a compiled pass over the pixels: what belongs to a lens is
worked out once for a lens, and pixels are not divided more often than they must. Conventions agree with lenstronomy's
without conversion (the Einstein radius of the ellipsoid, the components of the shear), which
``benchmarks/parity.py`` shows.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ellipse", "macromodel_deflection", "point_mass_deflection", "turned"]

NEAREST = 1e-30  # arcsec^2, so that a ray through the very centre divides by something


def ellipse(e1: Tensor, e2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Axis ratio q, cosine and sine of the position angle phi: (e1, e2) = (1 - q) / (1 + q) (cos 2 phi, sin 2 phi)."""
    ellipticity, phi = torch.hypot(e1, e2), torch.atan2(e2, e1) / 2
    return (1 - ellipticity) / (1 + ellipticity), phi.cos(), phi.sin()


def turned(x: Tensor, y: Tensor, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
    """A vector in axes that are turned by the angle with this cosine and sine; with ``-sine`` it is turned back."""
    return x * cosine + y * sine, y * cosine - x * sine


def macromodel_deflection(
    theta_E: Tensor,
    q: Tensor,
    cosine: Tensor,
    sine: Tensor,
    x0: Tensor,
    y0: Tensor,
    gamma1: Tensor,
    gamma2: Tensor,
    x: Tensor,
    y: Tensor,
) -> tuple[Tensor, Tensor]:
    """Deflection of a singular isothermal ellipsoid (Kormann et al. 1994, eq. 27a) and of shear about the origin.

    Along the axes of the ellipsoid it is theta_E sqrt(q) / f (atan(f u / psi), atanh(f v / psi)), with
    f^2 = 1 - q^2 and psi^2 = q^2 u^2 + v^2; theta_E is the Einstein radius averaged over the axes.

    Args:
        theta_E, q, cosine, sine, x0, y0: Einstein radius, shape (see ``ellipse``) and centre, each (B, 1).
        gamma1, gamma2: shear, each (B, 1).
        x, y: where, (P,) or (B, P).

    Returns:
        Its two components, (B, P).
    """
    q = q.clamp(max=1 - 8 * torch.finfo(q.dtype).eps)  # the formula divides by f
    f = (1 - q**2).sqrt()
    u, v = turned(x - x0, y - y0, cosine, sine)
    f_over_psi = f * (q**2 * u**2 + v**2 + NEAREST).rsqrt()
    strength = theta_E * q.sqrt() / f
    halo_x, halo_y = turned(strength * (u * f_over_psi).atan(), strength * (v * f_over_psi).atanh(), cosine, -sine)
    return halo_x + gamma1 * x + gamma2 * y, halo_y + gamma2 * x - gamma1 * y


def point_mass_deflection(px: Tensor, py: Tensor, theta_E: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Deflection of N point masses together: the sum of theta_E^2 d / |d|^2.

    A loop, because a compiler makes of it one pass over the pixels, 20 times faster than a sum over a broadcast axis.
    One division for each mass and pixel is where the time goes.

    Args:
        px, py, theta_E: positions and Einstein radii, each (B, N).
        x, y: where, (P,).

    Returns:
        Its two components, (B, P).
    """
    ax, ay = torch.zeros_like(x), torch.zeros_like(y)
    for k in range(px.shape[1]):
        x0, y0, radius = (value[:, k, None] for value in (px, py, theta_E))
        dx, dy = x - x0, y - y0
        pull = radius**2 / (dx**2 + dy**2)
        ax, ay = ax + pull * dx, ay + pull * dy
    return ax, ay

"""Deflection: what the lens does to a ray. Angles in arcsec; B lenses, P places.

The profiles stand here in the form that is cheapest for a compiled pass over the pixels: what belongs to a lens is
worked out once for a lens, and pixels are not divided more often than they must. Conventions agree with lenstronomy's
without conversion (the Einstein radius of the ellipsoid, the components of the shear), which
``benchmarks/parity.py`` shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from arcformer.sim.powerlaw import epl_deflection, multipole_deflection

__all__ = ["Macromodel", "ellipse", "point_mass_deflection", "turned"]


def ellipse(e1: Tensor, e2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Axis ratio q, cosine and sine of the position angle phi: (e1, e2) = (1 - q) / (1 + q) (cos 2 phi, sin 2 phi)."""
    ellipticity, phi = torch.hypot(e1, e2), torch.atan2(e2, e1) / 2
    return (1 - ellipticity) / (1 + ellipticity), phi.cos(), phi.sin()


def turned(x: Tensor, y: Tensor, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
    """A vector in axes that are turned by the angle with this cosine and sine; with ``-sine`` it is turned back."""
    return x * cosine + y * sine, y * cosine - x * sine


@dataclass(frozen=True)
class Macromodel:
    """An elliptical power law with external shear about the origin and multipoles of order 3 and 4, of B lenses.

    Each attribute is (B, 1), or (B,) where it is stacked: Einstein radius, slope of the convergence (1 is isothermal),
    axis ratio with cosine and sine of the position angle (see ``ellipse``), centre, shear; of each multipole the
    amplitude in arcsec, and cosine and sine of m times its angle.
    """

    theta_E: Tensor
    slope: Tensor
    q: Tensor
    cosine: Tensor
    sine: Tensor
    x0: Tensor
    y0: Tensor
    gamma1: Tensor
    gamma2: Tensor
    m3: Tensor
    m3_cosine: Tensor
    m3_sine: Tensor
    m4: Tensor
    m4_cosine: Tensor
    m4_sine: Tensor

    @classmethod
    def of(cls, p: Mapping[str, Tensor]) -> Macromodel:
        """From drawn parameters (B,): ellipticity as e1 and e2, multipole amplitudes in Einstein radii."""
        return cls(
            p["theta_E"], p["slope"], *ellipse(p["e1"], p["e2"]), p["lens_x"], p["lens_y"], p["gamma1"], p["gamma2"],
            p["m3"] * p["theta_E"], (3 * p["m3_angle"]).cos(), (3 * p["m3_angle"]).sin(),
            p["m4"] * p["theta_E"], (4 * p["m4_angle"]).cos(), (4 * p["m4_angle"]).sin(),
        )  # fmt: skip

    def stacked(self) -> Tensor:
        """All attributes one after another, (15, B)."""
        return torch.stack([getattr(self, field.name) for field in fields(self)])

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Its two components (B, P), at (x, y), (P,) or (B, P)."""
        dx, dy = x - self.x0, y - self.y0
        u, v = turned(dx, dy, self.cosine, self.sine)
        halo_x, halo_y = turned(*epl_deflection(self.theta_E, self.slope, self.q, u, v), self.cosine, -self.sine)
        shear_x, shear_y = self.gamma1 * x + self.gamma2 * y, self.gamma2 * x - self.gamma1 * y
        tri_x, tri_y = multipole_deflection(self.m3, self.m3_cosine, self.m3_sine, 3, dx, dy)
        quad_x, quad_y = multipole_deflection(self.m4, self.m4_cosine, self.m4_sine, 4, dx, dy)
        return halo_x + shear_x + tri_x + quad_x, halo_y + shear_y + tri_y + quad_y


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

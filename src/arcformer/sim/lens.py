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

from arcformer.sim.powerlaw import (
    Vector,
    epl_deflection,
    epl_derivatives,
    multipole_deflections,
    plus,
    scaled,
    times,
)

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
    axis ratio with cosine and sine of the position angle (see ``ellipse``), centre, shear; of the multipole of order m
    its amplitude, arcsec, times cosine and sine of m times its angle.
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
    m3_cosine: Tensor
    m3_sine: Tensor
    m4_cosine: Tensor
    m4_sine: Tensor

    @classmethod
    def of(cls, p: Mapping[str, Tensor]) -> Macromodel:
        """From drawn parameters (B,): ellipticity as e1 and e2, multipole amplitudes in Einstein radii."""
        m3, m4 = p["m3"] * p["theta_E"], p["m4"] * p["theta_E"]
        return cls(
            p["theta_E"], p["slope"], *ellipse(p["e1"], p["e2"]), p["lens_x"], p["lens_y"], p["gamma1"], p["gamma2"],
            m3 * (3 * p["m3_angle"]).cos(), m3 * (3 * p["m3_angle"]).sin(),
            m4 * (4 * p["m4_angle"]).cos(), m4 * (4 * p["m4_angle"]).sin(),
        )  # fmt: skip

    def stacked(self) -> Tensor:
        """All attributes one after another, (13, B)."""
        return torch.stack([getattr(self, field.name) for field in fields(self)])

    @classmethod
    def unstacked(cls, rows: Tensor) -> Macromodel:
        """From what ``stacked`` gives, ready to meet pixels: (B, 1) each."""
        return cls(*rows[:, :, None].unbind())

    def deflection(self, x: Tensor, y: Tensor) -> Vector:
        """Its two components (B, P), at (x, y), (P,) or (B, P)."""
        dx, dy = x - self.x0, y - self.y0
        halo = epl_deflection(self.theta_E, self.slope, self.q, *turned(dx, dy, self.cosine, self.sine))
        total = plus(turned(*halo, self.cosine, -self.sine), self._shear(x, y))
        for order, multipole in self._multipoles:
            for amplitude, one in zip(multipole, multipole_deflections(order, dx, dy), strict=True):
                total = plus(total, scaled(amplitude, one))
        return total

    def derivatives(self, x: Tensor, y: Tensor) -> dict[str, Vector]:
        """By how much the deflection changes with each parameter, (B, P) each, at (x, y), (P,) or (B, P).

        Parameters are those of this class, and ``angle`` of the halo in place of its cosine and sine. Derivatives by
        the centre follow from convergence kappa and shear gamma, and the latter from the former, since each part of
        the deflection goes with a power 1 - t of the distance (Tessore & Metcalf 2015, eq. 19). With Z the place,

            gamma = ((1 - t) alpha - kappa Z) / conj(Z),   d alpha / d angle = i ((2 - t) alpha - 2 kappa Z).
        """
        dx, dy = x - self.x0, y - self.y0
        halo = epl_derivatives(self.theta_E, self.slope, self.q, *turned(dx, dy, self.cosine, self.sine))
        alpha, by_radius, by_slope, by_q = (turned(*part, self.cosine, -self.sine) for part in halo[:4])
        kappa, around = halo.convergence, scaled(halo.convergence, (dx, dy))
        across = plus(scaled(2 - self.slope, alpha), scaled(-2, around))
        inverse = 1 / (dx**2 + dy**2 + torch.finfo(dx.dtype).tiny)
        gamma = times(plus(scaled(1 - self.slope, alpha), scaled(-1, around)), scaled(inverse, (dx, dy)))
        turn = scaled(inverse, times((dx, dy), (dx, dy)))  # Z / conj(Z)
        by_multipole: dict[str, Vector] = {}
        for order, multipole in self._multipoles:
            parts = multipole_deflections(order, dx, dy)
            by_multipole |= {f"m{order}_{part}": field for part, field in zip(("cosine", "sine"), parts, strict=True)}
            total = plus(scaled(multipole[0], parts[0]), scaled(multipole[1], parts[1]))
            own = (1 - order**2) / 2 * inverse * (dx * total[0] + dy * total[1])  # its convergence
            kappa, gamma = kappa + own, plus(gamma, scaled(-own, turn))
        return {
            "theta_E": by_radius,
            "slope": by_slope,
            "q": by_q,
            "angle": (-across[1], across[0]),
            "x0": (-kappa - gamma[0], -gamma[1]),
            "y0": (-gamma[1], gamma[0] - kappa),
            "gamma1": (x, -y),
            "gamma2": (y, x),
            **by_multipole,
        }

    @property
    def _multipoles(self) -> tuple[tuple[int, Vector], ...]:
        return (3, (self.m3_cosine, self.m3_sine)), (4, (self.m4_cosine, self.m4_sine))

    def _shear(self, x: Tensor, y: Tensor) -> Vector:
        return self.gamma1 * x + self.gamma2 * y, self.gamma2 * x - self.gamma1 * y


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

"""Truncated NFW subhalos (Baltz, Marshall & Oguri 2009, JCAP 01, 015; their n = 1): how big they are, how they deflect.

With the truncation given, the deflection is one function of x = R / r_s,

    alpha = theta_E^2 / r_s * g(x) / x,

with theta_E the Einstein radius of the total mass and g(x) the share of it that is projected within x (their eqs. A.4
and A.11). Hundreds of halos act on each pixel, so in float32, in which images are made, g(x) / x^2 is replaced by a
ratio of polynomials: 14 multiplications, a root and a division. Its deflection is right within 1e-4 of the largest of
that halo, at every radius. In float64 the formula itself is evaluated. Tests hold the formula against lenstronomy and
caustics, and the ratio against the formula. Masses Msun, angles arcsec.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["TRUNCATION", "concentration", "truncated_nfw_deflection"]

TRUNCATION = 5.0
"""Truncation radius in scale radii, of all halos."""

OVER = (4.383813, 4261.616, 326303.9, 3208188.0, 4147840.0, 1105177.0, 195615.1)
UNDER = (1.0, 1481.586, 174990.0, 3081898.0, 11084500.0, 11767740.0, 5579546.0, 1109499.0, 195568.5)
"""The polynomials, lowest power first: least squares of x (OVER / UNDER - g / x^2) for x from 3e-4 to 500."""


def concentration(mass: Tensor, z: float, hubble: float) -> Tensor:
    """Median c200 of halos of M200 = ``mass`` (Dutton & Maccio 2014, MNRAS 441, 3359, eqs. 7, 10 and 11).

    log10 c = a + b log10(M / (1e12 / h)), with a = 0.520 + 0.385 exp(-0.617 z^1.21) and b = -0.101 + 0.026 z, which is
    continued here below the masses that it was fitted to.
    """
    a = 0.520 + (0.905 - 0.520) * math.exp(-0.617 * z**1.21)
    b = -0.101 + 0.026 * z
    return 10 ** (a + b * (mass * (hubble / 100) / 1e12).log10())


def truncated_nfw_deflection(
    px: Tensor, py: Tensor, theta_E: Tensor, scale: Tensor, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Deflection of N halos together: a loop, for the reasons of ``point_mass_deflection``.

    Args:
        px, py, theta_E, scale: positions, Einstein radii of the total masses and scale radii, each (B, N). A halo
            with a theta_E of zero does nothing.
        x, y: where, (P,) or (B, P).

    Returns:
        Its two components, (B, P).
    """
    ax, ay = torch.zeros_like(x), torch.zeros_like(y)
    for k in range(px.shape[1]):
        x0, y0, inverse, strength = (value[:, k, None] for value in (px, py, 1 / scale, (theta_E / scale) ** 2))
        dx, dy = x - x0, y - y0
        radius = (dx**2 + dy**2).sqrt() * inverse
        pull = strength * _projected(radius)
        ax, ay = ax + pull * dx, ay + pull * dy
    return ax, ay


def _projected(x: Tensor) -> Tensor:
    """g(x) / x^2, exactly in float64, approximately in float32."""
    if x.dtype != torch.float64:
        return _polynomial(OVER, x) / _polynomial(UNDER, x)
    tau, square = TRUNCATION, TRUNCATION**2
    x = x.clamp(min=1e-7)
    total = (square - 1) * math.log(tau) + tau * math.pi - (square + 1)
    root = (square + x**2).sqrt()
    logarithm = (x / (root + tau)).log()
    inside = (square + 1 + 2 * (x**2 - 1)) * _arc(x) + tau * math.pi + (square - 1) * math.log(tau)
    return (inside + root * ((square - 1) / tau * logarithm - math.pi)) / (total * x**2)


def _arc(x: Tensor) -> Tensor:
    """arccos(1 / x) / sqrt(x^2 - 1), and beyond x = 1, where both vanish, what it is continued by (their eq. A.5)."""
    step = x - 1
    near = step.abs() < 1e-3
    below, above = torch.where(near, 0.5, x).clamp(max=1 - 1e-9), torch.where(near, 2.0, x).clamp(min=1 + 1e-9)
    inner = (1 / below).acosh() / (1 - below**2).sqrt()
    outer = (1 / above).acos() / (above**2 - 1).sqrt()
    series = 1 - 2 / 3 * step + 7 / 15 * step**2 - 12 / 35 * step**3
    return torch.where(near, series, torch.where(x < 1, inner, outer))


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    """Lowest power first."""
    value = coefficients[-1] * x + coefficients[-2]
    for coefficient in reversed(coefficients[:-2]):
        value = value * x + coefficient
    return value

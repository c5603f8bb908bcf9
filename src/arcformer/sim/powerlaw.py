"""The elliptical power law and multipoles: macromodels that caustics has in complex numbers, written in real ones.

torch's compiler leaves complex numbers alone, and so caustics' functions are not fused: these are ten times as fast.
Tests hold them against caustics and lenstronomy, and derivatives against automatic ones. Angles arcsec, position angles
radians. A vector is a pair of its components, and so is a complex number.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "PowerLaw",
    "Vector",
    "epl_deflection",
    "epl_derivatives",
    "multipole_deflections",
    "plus",
    "scaled",
    "times",
]

Vector = tuple[Tensor, Tensor]

TERMS = {torch.float32: 12, torch.float64: 30}
"""Of the series, by the precision of what is computed: its rest is below f^12, 2e-6 for an axis ratio of 0.5."""


def times(a: Vector, b: Vector) -> Vector:
    """The product of two complex numbers."""
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def plus(a: Vector, b: Vector) -> Vector:
    """The sum."""
    return a[0] + b[0], a[1] + b[1]


def scaled(factor: Tensor | float, a: Vector) -> Vector:
    """A vector by a number."""
    return factor * a[0], factor * a[1]


def epl_deflection(theta_E: Tensor, slope: Tensor, q: Tensor, u: Tensor, v: Tensor) -> Vector:
    """Deflection of an elliptical power law in its own axes (Tessore & Metcalf 2015, A&A 580, A79, eqs. 13, 23, 29).

        alpha = 2 R / (1 + q) (theta_E sqrt(q) / R)^t w sum_n c_n T^n,   R = |z|,  w = z / R,  z = q u + i v,
        T = -f w^2,   f = (1 - q) / (1 + q),   c_n = c_(n-1) (2 n - 2 + t) / (2 n + 2 - t),   c_0 = 1,

    with t the slope of the convergence, kappa ~ R^-t.

    Args:
        theta_E: Einstein radius of the circle of the same area, (B, 1).
        slope: t; 1 is isothermal. Of lenstronomy's ``gamma`` and the density's slope it is one less. (B, 1).
        q: axis ratio, (B, 1).
        u, v: along the major and the minor axis, (B, P).
    """
    radius, w, power, _ = _around(theta_E, slope, q, u, v)
    T = scaled((q - 1) / (1 + q), times(w, w))
    coefficients, _ = _series(slope, TERMS[u.dtype])
    total = scaled(coefficients[-1], (torch.ones_like(u), torch.zeros_like(u)))
    for c in reversed(coefficients[:-1]):
        total = _next(total, T, c)
    return times(scaled(2 / (1 + q) * radius * power, w), total)


class PowerLaw(NamedTuple):
    """The deflection, its derivatives with respect to Einstein radius, slope and axis ratio, and the convergence."""

    deflection: Vector
    theta_E: Vector
    slope: Vector
    q: Vector
    convergence: Tensor


def epl_derivatives(theta_E: Tensor, slope: Tensor, q: Tensor, u: Tensor, v: Tensor) -> PowerLaw:
    """The same, with what it depends on; from one pass over the series, its derivative by T and that by the slope."""
    radius, w, power, log_power = _around(theta_E, slope, q, u, v)
    f, turn = (1 - q) / (1 + q), times(w, w)
    T = scaled(-f, turn)
    coefficients, changes = _series(slope, TERMS[u.dtype])
    one, none = torch.ones_like(u), torch.zeros_like(u)
    total, by_slope, by_T = scaled(coefficients[-1], (one, none)), scaled(changes[-1], (one, none)), (none, none)
    for c, change in zip(reversed(coefficients[:-1]), reversed(changes[:-1]), strict=True):
        by_T = plus(times(by_T, T), total)
        total, by_slope = _next(total, T, c), _next(by_slope, T, change)

    towards = scaled(2 / (1 + q) * radius * power, w)
    deflection = times(towards, total)
    angle = -w[0] * w[1] / q  # by how much the direction of w turns with q
    stretch = (slope / 2 + (1 - slope) * w[0] ** 2) / q - 1 / (1 + q)
    T_by_q = plus(scaled(2 / (1 + q) ** 2, turn), scaled(2 * angle, (-T[1], T[0])))
    inner = plus(scaled(angle, (-total[1], total[0])), times(by_T, T_by_q))
    return PowerLaw(
        deflection,
        scaled(slope / theta_E, deflection),
        plus(scaled(log_power, deflection), times(towards, by_slope)),
        plus(scaled(stretch, deflection), times(towards, inner)),
        (2 - slope) / 2 * power,
    )


def _around(theta_E: Tensor, slope: Tensor, q: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Vector, Tensor, Tensor]:
    """R, w, (theta_E sqrt(q) / R)^t, and the logarithm of what is raised to that power."""
    x, y = q * u, v
    square = x**2 + y**2 + torch.finfo(u.dtype).tiny
    inverse = square.rsqrt()
    log_power = (theta_E * q.sqrt()).log() - square.log() / 2
    return square * inverse, (x * inverse, y * inverse), torch.exp(slope * log_power), log_power


def _series(slope: Tensor, terms: int) -> tuple[list[Tensor], list[Tensor]]:
    """Its coefficients c_n, and their derivatives by the slope."""
    coefficients, changes = [torch.ones_like(slope)], [torch.zeros_like(slope)]
    for n in range(1, terms):
        below = 2 * n + 2 - slope
        factor = (2 * n - 2 + slope) / below
        changes.append(changes[-1] * factor + coefficients[-1] * (4 * n) / below**2)
        coefficients.append(coefficients[-1] * factor)
    return coefficients, changes


def _next(total: Vector, T: Vector, coefficient: Tensor) -> Vector:
    """One step of Horner's rule."""
    real, imaginary = times(total, T)
    return real + coefficient, imaginary


def multipole_deflections(order: int, dx: Tensor, dy: Tensor) -> tuple[Vector, Vector]:
    """Deflection of multipoles of an isothermal lens (Xu et al. 2015, MNRAS 447, 3189, eqs. B11 and B12).

    The convergence of the first is cos(m phi) / (2 r), of the second sin(m phi) / (2 r); any other of order m is a sum
    of the two. Neither deflection changes with the distance.

    Args:
        order: m, at least 2.
        dx, dy: from the centre of the lens, (B, P).
    """
    inverse = (dx**2 + dy**2 + torch.finfo(dx.dtype).tiny).rsqrt()
    c, s = dx * inverse, dy * inverse
    cm, sm = c, s
    for _ in range(order - 1):
        cm, sm = times((cm, sm), (c, s))  # of m phi
    strength = 1 / (1 - order**2)
    return (
        scaled(strength, (c * cm + order * s * sm, s * cm - order * c * sm)),
        scaled(strength, (c * sm - order * s * cm, s * sm + order * c * cm)),
    )

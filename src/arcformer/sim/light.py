"""Light of sources and lenses: the elliptical Sersic profile, in lenstronomy's convention.

A galaxy is a sum of profiles, in two tables: those of any index (9, B, K), and exponential discs (8, B, K), which are
cheaper. Their rows are what ``sersic_brightness`` takes. B galaxies, P places, angles arcsec.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from caustics.light.func import k_lenstronomy
from torch import Tensor

from arcformer.sim.lens import ellipse, turned
from arcformer.sim.powerlaw import Vector, plus

__all__ = ["Light", "brightness", "light_derivatives", "sersic_brightness", "sersic_flux", "sersics"]

Light = tuple[Tensor, Tensor]

COMPONENT = ("amplitude", "size", "index", "e1", "e2", "x", "y")


def sersic_brightness(
    amplitude: Tensor,
    size: Tensor,
    q: Tensor,
    cosine: Tensor,
    sine: Tensor,
    x0: Tensor,
    y0: Tensor,
    core: Tensor,
    index: Tensor | None = None,
    *,
    x: Tensor,
    y: Tensor,
) -> Tensor:
    """Surface brightness, flux per arcsec^2, at (x, y) in arcsec, each (B, P).

    It is amplitude * exp(-b (((r / size)^2 + core)^(1 / 2 index) - 1)). ``size`` is the half-light radius averaged over
    the axes (lenstronomy's ``R_sersic``), and so is r; ``amplitude`` is the brightness there; q, cosine and sine are
    the shape (see ``lens.ellipse``); ``core`` is the square of the core's radius over the size, 0 for Sersic's cusp.
    All parameters (B, 1). Without an index it is 1: an exponential disc. With a core this is the core-Sersic profile
    (Trujillo et al. 2004, AJ 127, 1917, eq. 5) of alpha = 2 and gamma = 0.

    The power is taken by a logarithm and an exponential, in half the time; a disc needs but a root.
    """
    u, v = turned(x - x0, y - y0, cosine, sine)
    square = u**2 * (q / size**2) + v**2 * (1 / (q * size**2)) + core  # divide numbers, not pixels
    power = square.sqrt() if index is None else torch.exp(square.log() * (0.5 / index))
    return amplitude * torch.exp(k_lenstronomy(1.0 if index is None else index) * (1 - power))


def sersic_flux(size: Tensor, index: Tensor, core: Tensor | None = None) -> Tensor:
    """Total flux of a Sersic profile of unit amplitude (Graham & Driver 2005, eq. 4), with a core of radius ``core``.

    It is 2 pi n R^2 exp(b) b^(-2n) Gamma(2n, b (core / R)^(1/n)), with n the index and R the size.
    """
    b = k_lenstronomy(index)
    total = 2 * torch.pi * index * size**2 * torch.exp(b - 2 * index * b.log() + torch.lgamma(2 * index))
    return total if core is None else total * torch.special.gammaincc(2 * index, b * (core / size) ** (1 / index))


def sersics(parameters: Mapping[str, Tensor], name: str) -> Light:
    """The profiles of a source or of the lens's light: of any index (9, B, K), and discs (8, B, K); K may be 0.

    From drawn parameters ``name_amplitude``, ``name_size`` and so on, (B,) each, and more of them in
    ``name_clump_...``, (B, K) each. A disc is what has an index of 1 in all galaxies. The radius ``name_core``
    is of all profiles of a galaxy.
    """
    count = len(parameters["theta_E"])
    tables = [[torch.empty(rows, count, 0, dtype=torch.float64)] for rows in (9, 8)]
    radius = parameters.get(f"{name}_core", torch.zeros(count, dtype=torch.float64))[:, None]
    for prefix in (name, f"{name}_clump"):
        if f"{prefix}_amplitude" in parameters:
            p = {key: parameters[f"{prefix}_{key}"].view(count, -1) for key in COMPONENT}
            core = (radius / p["size"]) ** 2
            shape = [p["amplitude"], p["size"], *ellipse(p["e1"], p["e2"]), p["x"], p["y"], core]
            disc = bool(p["index"].eq(1).all())
            tables[disc].append(torch.stack(shape if disc else [*shape, p["index"]]))
    general, discs = (torch.cat(table, dim=2) for table in tables)
    return general, discs


def brightness(light: Light, x: Tensor, y: Tensor) -> Tensor:
    """Surface brightness (B, P) of galaxies of one profile at least, at (x, y), (P,) or (B, P)."""
    profiles = [profile.unbind() for table in light for profile in table[..., None].unbind(2)]
    first, *others = (sersic_brightness(*profile, x=x, y=y) for profile in profiles)
    return sum(others, first)


def light_derivatives(light: Light, x: Tensor, y: Tensor) -> tuple[Tensor, Vector, list[Tensor]]:
    """Brightness (B, P), its gradient, and by how much it changes with each parameter, (B, P) each.

    Of the first profile the parameters are amplitude, centre, size, index, axis ratio and position angle; of others,
    which are its clumps, amplitude, centre and size. Each is right up to a factor that is the same at all places.
    """
    (first, *others) = [profile.unbind() for table in light for profile in table[..., None].unbind(2)]
    if len(first) == 8:
        first = (*first, torch.ones_like(first[0]))
    total, gradient, changes = _sersic_derivatives(*first, x=x, y=y, whole=True)
    for profile in others:
        more, leaning, own = _sersic_derivatives(*profile, x=x, y=y, whole=False)
        total, gradient, changes = total + more, plus(gradient, leaning), changes + own
    return total, gradient, changes


CUSP = 1e-5
"""Added to (r / size)^2 where a gradient is taken: that of a cusp has no end."""


def _sersic_derivatives(
    amplitude: Tensor,
    size: Tensor,
    q: Tensor,
    cosine: Tensor,
    sine: Tensor,
    x0: Tensor,
    y0: Tensor,
    core: Tensor,
    index: Tensor | None = None,
    *,
    x: Tensor,
    y: Tensor,
    whole: bool,
) -> tuple[Tensor, Vector, list[Tensor]]:
    """For one profile, see ``light_derivatives`` and ``sersic_brightness``; ``whole``: with index, ratio and angle."""
    u, v = turned(x - x0, y - y0, cosine, sine)
    along, across = u**2 * (q / size**2), v**2 * (1 / (q * size**2))
    square = along + across + core + torch.finfo(x.dtype).tiny
    n = 1.0 if index is None else index
    power = square.sqrt() if index is None else torch.exp(square.log() * (0.5 / n))
    b = k_lenstronomy(n)
    by_amplitude = torch.exp(b * (1 - power))
    shine = amplitude * by_amplitude
    by_log = (-0.5 * b / n) * shine * power  # of square
    slope = by_log / (square + CUSP)
    gradient = turned(2 * slope * u * (q / size**2), 2 * slope * v * (1 / (q * size**2)), cosine, -sine)
    changes = [by_amplitude, *gradient, by_log * (1 - core / square)]
    if whole:
        by_index = shine * (K_BY_INDEX * (1 - power) + (0.5 * b / n**2) * power * square.log())
        changes += [by_index, slope * (along - across), slope * u * v]
    return shine, gradient, changes


K_BY_INDEX = float(k_lenstronomy(2.0) - k_lenstronomy(1.0))  # it is linear

"""Light of the source: the elliptical Sersic profile, in lenstronomy's convention."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from caustics.light.func import k_lenstronomy
from torch import Tensor

from arcformer.sim.lens import ellipse, turned

__all__ = ["sersic_brightness", "sersic_flux", "sersics"]

COMPONENT = ("amplitude", "size", "index", "e1", "e2", "x", "y")


def sersic_brightness(
    amplitude: Tensor,
    size: Tensor,
    q: Tensor,
    cosine: Tensor,
    sine: Tensor,
    x0: Tensor,
    y0: Tensor,
    index: Tensor | None = None,
    *,
    x: Tensor,
    y: Tensor,
) -> Tensor:
    """Surface brightness, flux per arcsec^2, at (x, y) in arcsec, each (B, P).

    It is amplitude * exp(-b ((r / size)^(1 / index) - 1)). ``size`` is the half-light radius averaged over the axes
    (lenstronomy's ``R_sersic``), and so is r; ``amplitude`` is the brightness there; q, cosine and sine are the shape
    (see ``lens.ellipse``). All parameters (B, 1). Without an index it is 1: an exponential disc.

    The power is taken by a logarithm and an exponential, in half the time; a disc needs but a root.
    """
    u, v = turned(x - x0, y - y0, cosine, sine)
    square = u**2 * (q / size**2) + v**2 * (1 / (q * size**2))  # divide numbers, not pixels
    power = square.sqrt() if index is None else torch.exp(square.log() * (0.5 / index))
    return amplitude * torch.exp(k_lenstronomy(1.0 if index is None else index) * (1 - power))


def sersic_flux(size: Tensor, index: Tensor) -> Tensor:
    """Total flux of a Sersic profile of unit amplitude (Graham & Driver 2005, eq. 4).

    It is 2 pi n R^2 exp(b) b^(-2n) Gamma(2n), with n the index and R the size.
    """
    b = k_lenstronomy(index)
    return 2 * torch.pi * index * size**2 * torch.exp(b - 2 * index * b.log() + torch.lgamma(2 * index))


def sersics(parameters: Mapping[str, Tensor], name: str) -> Tensor:
    """The components of a source or of the lens's light, (8, B, K), as ``sersic_brightness`` takes them; K may be 0.

    Where all are exponential discs, the indices are left out: (7, B, K). From drawn parameters ``name_amplitude``,
    ``name_size`` and so on, (B,) each, and more of them in ``name_clump_...``, (B, K - 1) each.
    """
    size = len(parameters["theta_E"])
    stacks = [torch.empty(8, size, 0, dtype=torch.float64)]
    for prefix in (name, f"{name}_clump"):
        if f"{prefix}_amplitude" in parameters:
            p = {key: parameters[f"{prefix}_{key}"].view(size, -1) for key in COMPONENT}
            shape = (p["amplitude"], p["size"], *ellipse(p["e1"], p["e2"]), p["x"], p["y"], p["index"])
            stacks.append(torch.stack(shape))
    components = torch.cat(stacks, dim=2)
    return components[:7] if components[7].eq(1).all() else components

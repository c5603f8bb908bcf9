"""Light of the source: the elliptical Sersic profile, in lenstronomy's convention."""

from __future__ import annotations

import torch
from caustics.light.func import k_lenstronomy
from torch import Tensor

from arcformer.sim.lens import turned

__all__ = ["sersic_brightness", "sersic_flux"]


def sersic_brightness(
    amplitude: Tensor,
    size: Tensor,
    index: Tensor,
    q: Tensor,
    cosine: Tensor,
    sine: Tensor,
    x0: Tensor,
    y0: Tensor,
    x: Tensor,
    y: Tensor,
) -> Tensor:
    """Surface brightness, flux per arcsec^2, at (x, y) in arcsec, each (B, P).

    It is amplitude * exp(-b ((r / size)^(1 / index) - 1)). ``size`` is the half-light radius averaged over the axes
    (lenstronomy's ``R_sersic``), and so is r; ``amplitude`` is the brightness there; q, cosine and sine are the shape
    (see ``lens.ellipse``). All parameters (B, 1).

    The power is taken by a logarithm and an exponential, in half the time.
    """
    u, v = turned(x - x0, y - y0, cosine, sine)
    square = u**2 * (q / size**2) + v**2 * (1 / (q * size**2))  # divide numbers, not pixels
    return amplitude * torch.exp(k_lenstronomy(index) * (1 - torch.exp(square.log() * (0.5 / index))))


def sersic_flux(size: Tensor, index: Tensor) -> Tensor:
    """Total flux of a Sersic profile of unit amplitude (Graham & Driver 2005, eq. 4).

    It is 2 pi n R^2 exp(b) b^(-2n) Gamma(2n), with n the index and R the size.
    """
    b = k_lenstronomy(index)
    return 2 * torch.pi * index * size**2 * torch.exp(b - 2 * index * b.log() + torch.lgamma(2 * index))

"""Light of the source: the elliptical Sersic profile, in lenstronomy's convention on caustics' function."""

from __future__ import annotations

import torch
from caustics.light.func import brightness_sersic, k_lenstronomy
from torch import Tensor

from arcformer.sim.lens import axis_ratio_and_angle

__all__ = ["sersic_brightness", "sersic_flux"]


def sersic_brightness(
    amplitude: Tensor,
    size: Tensor,
    index: Tensor,
    e1: Tensor,
    e2: Tensor,
    x0: Tensor,
    y0: Tensor,
    x: Tensor,
    y: Tensor,
) -> Tensor:
    """Surface brightness, flux per arcsec^2, at (x, y) in arcsec.

    ``size`` is the half-light radius averaged over the axes (lenstronomy's ``R_sersic``): the semi-major axis that
    caustics wants is ``size / sqrt(q)``. ``amplitude`` is the brightness at that radius. All parameters (B, 1, 1).
    """
    q, phi = axis_ratio_and_angle(e1, e2)
    return brightness_sersic(x0, y0, q, phi, index, size / q.sqrt(), amplitude, x, y, k_lenstronomy(index))


def sersic_flux(size: Tensor, index: Tensor) -> Tensor:
    """Total flux of a Sersic profile of unit amplitude: 2 pi n R^2 exp(b) b^(-2n) Gamma(2n) (Graham & Driver 2005, eq. 4)."""
    b = k_lenstronomy(index)
    return 2 * torch.pi * index * size**2 * torch.exp(b - 2 * index * b.log() + torch.lgamma(2 * index))

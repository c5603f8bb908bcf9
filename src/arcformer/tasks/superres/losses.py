"""What a finer image is asked to be: near the true one, alike in structure, true to what was seen, of the same flux.

Each is a number for each image, (B,). Shapes: B images, C channels, H x W pixels, r times as many in the finer one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.data.pairs import observed

__all__ = ["charbonnier", "chi_square", "excess", "flux", "likelihood"]


def charbonnier(residual: Tensor, softness: float, good: Tensor) -> Tensor:
    """The mean of sqrt(residual^2 + softness^2) - softness: a square below the softness, an absolute value above.

    Charbonnier et al. 1994; Lai et al. 2017 (arXiv 1704.03915).

    Args:
        good: (B, C, rH, rW), the pixels that count.
    """
    return _mean((residual.square() + softness**2).sqrt() - softness, good)


def likelihood(residual: Tensor, log_std: Tensor, good: Tensor) -> Tensor:
    """The negative log density of ``residual`` under a Gaussian of this width, a constant left out: nats a pixel."""
    return _mean(log_std + residual.square() * (-2 * log_std).exp() / 2, good)


def chi_square(fine: Tensor, batch: LensBatch, factor: int) -> Tensor:
    """How far ``fine`` (B, C, rH, rW), through the PSF and summed to pixels, is from the images: reduced chi-square.

    One, if ``fine`` is the true sky and the noise is what the batch says. Pixels without noise count as they are, in
    the unit of the images. Bad pixels, and those so near to the edge that what lies beyond is seen in them, do not
    count; of images without a PSF it is not a number.

    Args:
        batch: with ``psf`` on the grid of ``fine``, and its noise, in the same unit.
    """
    if batch.psf is None:
        return fine.new_full((len(fine),), torch.nan)
    residual = observed(fine, batch.psf, factor) - batch.images
    if batch.noise_std is not None:
        residual = residual / torch.where(batch.noise_std > 0, batch.noise_std, 1.0)
    good = torch.ones_like(residual, dtype=torch.bool) if batch.mask is None else ~batch.mask
    reach = [-(-(side // 2) // factor) for side in batch.psf.shape[-2:]]
    inside = torch.zeros_like(good)
    inside[..., reach[0] : good.shape[-2] - reach[0], reach[1] : good.shape[-1] - reach[1]] = True
    return _mean(residual.square(), good & inside)


def excess(chi2: Tensor, batch: LensBatch) -> Tensor:
    """log(1 + chi2 - 1) above one, 0 below: what a fit to noise would lower further is no reason to.

    Of images without noise chi-square has no unit, and all of it is too much.
    """
    allowed = torch.zeros_like(chi2) if batch.noise_std is None else (batch.noise_std > 0).flatten(1).any(1).to(chi2)
    return torch.log1p((chi2 - allowed).clamp_min(0))


def flux(fine: Tensor, true: Tensor, good: Tensor) -> Tensor:
    """By what share of the true one the total flux is off."""
    missing, whole = (((image * good).flatten(1).sum(1)).abs() for image in (fine - true, true))
    return missing / whole.clamp_min(1e-12)


def _mean(values: Tensor, good: Tensor) -> Tensor:
    return (values * good).flatten(1).sum(1) / good.flatten(1).sum(1).clamp_min(1)

"""Deconvolution without a network: Richardson (1972) and Lucy (1974), onto a finer grid of pixels.

Each step multiplies the sky x by how much brighter the images y are than what the instrument would see of it,

    x <- x A^T[(y + p) / (A x + p)] / A^T[1],    A: PSF and sum over pixels (``data/pairs.py``),

with a pedestal p that keeps images with noise about zero positive (Snyder et al. 1993). Many steps fit the noise: where
that is known, an image is left alone once its reduced chi-square is one (Morozov's principle).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from arcformer.data.pairs import observed

__all__ = ["STEPS", "richardson_lucy"]

STEPS = 20


def richardson_lucy(
    images: Tensor,
    psf: Tensor,
    factor: int,
    *,
    noise_std: Tensor | None = None,
    steps: int = STEPS,
    start: Tensor | None = None,
) -> Tensor:
    """The sky (B, C, rH, rW) of images (B, C, H, W) seen through ``psf`` (B, k, l), which is on the finer grid.

    Args:
        images: in units in which fluxes are positive, noise aside.
        noise_std: (B, C, H, W), where it is known.
        steps: at most.
        start: the sky to begin with, positive; None: as bright everywhere as the image is on average.
    """
    least = images.flatten(1).amin(1).clamp_max(0).view(-1, 1, 1, 1)
    pedestal = -least + 1e-6 * images.flatten(1).amax(1).view(-1, 1, 1, 1).clamp_min(1e-30)
    if start is None:
        level = images.flatten(1).mean(1).view(-1, 1, 1, 1).clamp_min(0) + 1e-6 * pedestal
        start = (level / factor**2).expand(*images.shape[:2], *(factor * side for side in images.shape[-2:]))
    sky = start.clone()

    def seen(fine: Tensor) -> Tensor:
        return observed(fine, psf, factor)

    weight = _transposed(seen, sky, torch.ones_like(images)).clamp_min(1e-6)
    for _ in range(steps):
        model = seen(sky)
        better = sky * _transposed(seen, sky, (images + pedestal) / (model + pedestal)).clamp_min(0) / weight
        if noise_std is not None:
            chi2 = ((images - model) / noise_std.clamp_min(1e-30)).flatten(1).square().mean(1)
            better = torch.where((chi2 > 1).view(-1, 1, 1, 1), better, sky)
        sky = better
    return sky


def _transposed(linear: Callable[[Tensor], Tensor], at: Tensor, values: Tensor) -> Tensor:
    """The transpose of a linear map, which is its gradient."""
    with torch.enable_grad():
        at = at.detach().requires_grad_(True)
        return torch.autograd.grad(linear(at), at, values)[0]

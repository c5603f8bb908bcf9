"""Pairs of one sky at two resolutions, and the ways between the two: what an instrument does, and interpolation.

Pixels hold flux: those of the finer image under a pixel of the coarser one add up to it, but for PSF and noise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from arcformer.batch import LensBatch
from arcformer.data.resample import resample
from arcformer.errors import InputError
from arcformer.sim.instrument import convolved

__all__ = ["Interpolation", "binned", "enlarged", "factor_of", "observed", "summed"]

Interpolation = Literal["bilinear", "bicubic"]


def binned(batch: LensBatch, factor: int | None) -> LensBatch:
    """Pairs of images of which there is one resolution: they are ``high_res``, and their sums over blocks the images.

    So published sets are paired: DeepLense's Model I 75 to 150 pixels, Model II and III 32 to 64. How their coarser
    images were made is not told; that counts of 2 x 2 pixels were summed is an assumption. Noise and PSF are in both:
    nothing but the sum lies between the two, and the ``psf`` is a point. A row or column that is left over is cut off.

    Args:
        factor: side of a block, pixels; None leaves the batch as it is.

    Raises:
        InputError: images without a pixel scale, or smaller than a block.
    """
    if factor is None:
        return batch
    height, width = (side // factor * factor for side in batch.images.shape[-2:])
    if not height or not width:
        raise InputError(f"images of {tuple(batch.images.shape[-2:])} pixels hold no block of {factor} x {factor}")
    scale = batch.pixel_scale
    unit = batch.images.new_ones(len(batch))
    whole = replace(
        batch,
        images=batch.images[..., :height, :width],
        noise_std=None if batch.noise_std is None else batch.noise_std[..., :height, :width],
        mask=None if batch.mask is None else batch.mask[..., :height, :width],
        extras={
            name: extra[..., :height, :width] if name == "clean" else extra
            for name, extra in batch.extras.items()
            if name == "clean" or extra.ndim < 3 or extra.shape[-2:] != batch.images.shape[-2:]
        },
        pixel_scale=unit,
        psf=None,
        high_res=None,
    )
    coarse = resample(whole, pixel_scale=float(factor))
    return replace(
        coarse,
        high_res=whole.images,
        psf=unit.view(-1, 1, 1),
        pixel_scale=None if scale is None else scale * factor,
    )


def factor_of(batch: LensBatch) -> int | None:
    """By how much ``high_res`` is finer than the images; None without it, or where the sides are in no whole ratio."""
    if batch.high_res is None:
        return None
    ratios = [fine / side for fine, side in zip(batch.high_res.shape[-2:], batch.images.shape[-2:], strict=True)]
    return int(ratios[0]) if ratios[0] == ratios[1] and ratios[0].is_integer() else None


def summed(fine: Tensor, factor: int) -> Tensor:
    """Sums (B, C, H, W) of a finer image (B, C, rH, rW) over blocks of r x r pixels."""
    return F.avg_pool2d(fine, factor) * factor**2


def observed(fine: Tensor, psf: Tensor, factor: int) -> Tensor:
    """What an instrument sees, without noise, (B, C, H, W), of a sky (B, C, rH, rW); ``psf`` (B, k, l) on its grid."""
    if psf.shape[-2:] == (1, 1):
        return summed(fine * psf[:, None], factor)
    kernels = psf.repeat_interleave(fine.shape[1], 0)
    return summed(convolved(fine.flatten(0, 1), kernels).view_as(fine), factor)


def enlarged(images: Tensor, factor: int, how: Interpolation) -> Tensor:
    """Images (B, C, H, W) at ``factor`` times the resolution by interpolation, their flux kept, (B, C, rH, rW).

    Beyond the edge the outermost pixels go on, and what bicubic interpolation loses there is not made up for.
    """
    whole = F.interpolate(images, scale_factor=factor, mode=how, align_corners=False)
    return whole / factor**2

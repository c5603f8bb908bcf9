"""A batch on another grid: another pixel scale and size, everything that lies on its pixels brought along."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.data.window import Window
from arcformer.errors import InputError

__all__ = ["resample"]

SAME = 1e-4  # pixel scales within a batch that agree to this share are one


def resample(
    batch: LensBatch, size: int | None = None, pixel_scale: float | None = None, centre: Tensor | None = None
) -> LensBatch:
    """The batch on ``size`` x ``size`` pixels of ``pixel_scale``, its flux kept: counts of input pixels are summed.

    A pixel is masked where a masked pixel or the outside of the image reaches into it. The noise is added in squares,
    as if independent from pixel to pixel; outside of the image it is the median of what is inside. The PSF is
    brought to the new pixels and normalised. Of the extras on the grid only ``clean``, the noise-free image, comes
    along; the others are no fluxes, and are left out where the grid changes.

    Args:
        batch: with one ``pixel_scale`` for all its images where another is asked for.
        size: side in pixels, cropped or padded about the centre; None: as many whole pixels as there is room for.
        pixel_scale: arcsec; None keeps what it is.
        centre: (B, 2), y and x in pixels, 0 in the middle of the first; None: the middle of the image.

    Raises:
        InputError: pixel scales that are unknown or differ, or an image smaller than one pixel.
    """
    shape = _sides(batch.images)
    ratio = pixel_scale / _common_scale(batch) if pixel_scale else 1.0
    window = Window.about(shape, (size, size) if size else None, ratio, centre).on_whole_pixels()
    if 0 in window.size:
        raise InputError(f"images of {shape[0]} x {shape[1]} pixels are smaller than one pixel of {pixel_scale} arcsec")
    if window.is_identity:
        return batch
    outside = ~window.covered().to(batch.images.device)
    mask = None if batch.mask is None else window.any(batch.mask)
    if outside.any():
        mask = (outside if mask is None else mask | outside).expand(*batch.images.shape[:2], *window.size)
    extras = {name: extra for name, extra in batch.extras.items() if extra.ndim < 3 or _sides(extra) != shape}
    if "clean" in batch.extras:
        extras["clean"] = window.sum(batch.extras["clean"])
    known = batch.pixel_scale
    return replace(
        batch,
        images=window.sum(batch.images),
        high_res=None if batch.high_res is None else window.finer(_factor(shape, batch.high_res)).sum(batch.high_res),
        noise_std=None if batch.noise_std is None else _noise(window, batch.noise_std, outside),
        mask=mask,
        psf=None if batch.psf is None else _psf(batch.psf, window.ratio),
        pixel_scale=known if known is None or pixel_scale is None else torch.full_like(known, pixel_scale),
        extras=extras,
    )


def _common_scale(batch: LensBatch) -> float:
    """The pixel scale of all images of the batch, arcsec."""
    scales = batch.pixel_scale if batch.pixel_scale is not None else torch.full((len(batch),), torch.nan)
    for row in (~scales.isfinite()).nonzero()[:1, 0].tolist():
        name = batch.ids[row] if batch.ids else f"image {row}"
        raise InputError(f"{name}: its pixel scale is unknown, so it cannot be changed; give pixel_scale in arcsec")
    low, high = float(scales.min()), float(scales.max())
    if low <= 0 or high / low - 1 > SAME:
        raise InputError(f"pixel scales of {low:g} to {high:g} arcsec in one batch: expected a single positive one")
    return low


def _noise(window: Window, noise_std: Tensor, outside: Tensor) -> Tensor:
    noise = window.sum(noise_std.square(), power=2).sqrt()
    if not outside.any():
        return noise
    inside = noise.masked_fill(outside, torch.nan)
    return torch.where(outside, inside.flatten(1).nanmedian(dim=1).values[:, None, None, None], noise)


def _psf(psf: Tensor, ratio: float) -> Tensor:
    """The PSF (B, h, w) on pixels ``ratio`` times as large, of odd sizes that hold all of it, summing to one."""
    if ratio == 1:
        return psf
    height, width = (2 * int(side / ratio / 2 + 0.5) + 1 for side in psf.shape[-2:])
    coarse = Window.about(_sides(psf), (height, width), ratio).sum(psf[:, None])[:, 0]
    return coarse / coarse.sum(dim=(1, 2), keepdim=True)


def _factor(shape: tuple[int, int], high_res: Tensor) -> int:
    """By how much ``high_res`` is finer than ``images``."""
    (height, width), (fine_height, fine_width) = shape, _sides(high_res)
    factor = fine_height // height
    if (fine_height, fine_width) != (factor * height, factor * width):
        raise InputError(f"high_res of {fine_height} x {fine_width} is no whole multiple of {height} x {width} pixels")
    return factor


def _sides(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]

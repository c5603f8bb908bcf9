"""One image as a reader gives it: (1, C, H, W) float32, bad pixels masked; and the error for a file without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.errors import InputError

__all__ = ["BadFile", "image_batch"]

MOST_CHANNELS = 16


class BadFile(InputError):
    """A file that cannot be used: corrupt, truncated, empty, all NaN, wrong-shaped or refused. Its text names the file.

    ``check_files(..., skip_bad=True)`` leaves such files out; nothing ever stands in for them.
    """


def image_batch(
    path: Path,
    pixels: NDArray[Any],
    *,
    noise_std: NDArray[Any] | None = None,
    psf: NDArray[Any] | None = None,
    pixel_scale: float | None = None,
    unit: str = "",
    targets: dict[str, float] | None = None,
    extras: dict[str, float] | None = None,
) -> LensBatch:
    """What a reader found in ``path``, as a batch of one.

    A pixel that is not finite, or whose noise is not finite and positive, is bad: ``mask`` is True there, the image 0
    and the noise the median of the good pixels. Where no pixel is bad there is no mask.

    Args:
        path: the file; it becomes the batch's id.
        pixels: (H, W), (C, H, W) or (H, W, C), at most 16 channels.
        noise_std: standard deviation of the noise, shaped like ``pixels`` or (H, W).
        psf: (h, w), odd sizes, summing to one.
        pixel_scale: arcsec; None: unknown, NaN in the batch.
        unit: the unit of the pixels.
        targets: numbers by name that may become regression targets.
        extras: further numbers by name.

    Raises:
        BadFile: there is no image in this shape, or no good pixel in it.
    """
    images = _channels_first(path, pixels)
    bad = ~np.isfinite(images)
    noise = None
    if noise_std is not None:
        noise = _like_image(path, noise_std, images.shape)
        bad |= ~(np.isfinite(noise) & (noise > 0))
    if bad.all():
        raise BadFile(f"{path}: no pixel of its {_times(images.shape)} is a finite number with a usable noise")
    if noise is not None:
        noise = np.where(bad, np.median(noise[~bad]), noise)
    targets = targets or {}
    return LensBatch(
        images=_tensor(np.where(bad, 0, images)),
        noise_std=None if noise is None else _tensor(noise),
        mask=torch.from_numpy(bad)[None] if bad.any() else None,
        psf=None if psf is None else _tensor(psf),
        pixel_scale=torch.tensor([torch.nan if pixel_scale is None else pixel_scale]),
        targets=torch.tensor([list(targets.values())], dtype=torch.float32) if targets else None,
        target_names=tuple(targets),
        ids=(str(path),),
        unit=unit,
        extras={name: torch.tensor([value], dtype=torch.float32) for name, value in (extras or {}).items()},
    )


def _channels_first(path: Path, pixels: NDArray[Any]) -> NDArray[np.float32]:
    if pixels.dtype.kind not in "biuf":
        raise BadFile(f"{path}: its values are of type {pixels.dtype}, not numbers")
    if pixels.ndim == 2:
        pixels = pixels[None]
    elif pixels.ndim == 3 and pixels.shape[0] <= MOST_CHANNELS and pixels.shape[0] < min(pixels.shape[1:]):
        pass
    elif pixels.ndim == 3 and pixels.shape[2] <= MOST_CHANNELS and pixels.shape[2] < min(pixels.shape[:2]):
        pixels = np.moveaxis(pixels, 2, 0)
    else:
        raise BadFile(f"{path}: its shape is {_times(pixels.shape)}; expected H x W, C x H x W or H x W x C")
    if pixels.size == 0 or min(pixels.shape[1:]) < 2:
        raise BadFile(f"{path}: an image of {_times(pixels.shape)} holds nothing to look at")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and so a bad pixel
        return np.ascontiguousarray(pixels, dtype=np.float32)


def _like_image(path: Path, noise: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The noise on the grid of the image."""
    noise = _channels_first(path, noise)
    if noise.shape[1:] != shape[1:] or noise.shape[0] not in (1, shape[0]):
        raise BadFile(f"{path}: its noise is {_times(noise.shape)}, but its image {_times(shape)}")
    return np.broadcast_to(noise, shape)


def _tensor(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None]


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"

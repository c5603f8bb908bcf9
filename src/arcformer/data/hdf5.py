"""Images in HDF5 files, laid out as lenstronomy's and dolphin's users keep them, with the PSF in a file beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from arcformer.batch import LensBatch
from arcformer.data.image import BadFile, image_batch
from arcformer.data.psf import tidy_psf

__all__ = ["is_psf_beside_image", "read_hdf5"]


def read_hdf5(path: str | Path, *, pixel_scale: float | None = None) -> LensBatch:
    """The image in an HDF5 file: ``image_data`` (H, W), in e-/s.

    Read along where they are there: ``background_rms`` and ``exposure_time`` (s; a number or a map) give the noise,
    variance = background_rms^2 + max(image, 0) / exposure_time as in lenstronomy; ``transform_pix2angle`` (2, 2) gives
    the pixel scale, the root of its determinant; ``kernel_point_source`` in ``psf_NAME.h5`` beside ``image_NAME.h5``
    gives the PSF.

    Args:
        path: the file.
        pixel_scale: arcsec; it goes before the file's own.

    Raises:
        BadFile: not HDF5, truncated, or without ``image_data``.
    """
    path = Path(path)
    found = _datasets(path, ("image_data", "background_rms", "exposure_time", "transform_pix2angle"))
    if "image_data" not in found:
        raise BadFile(f"{path}: holds no dataset 'image_data'")
    if pixel_scale is None and "transform_pix2angle" in found:
        pixel_scale = float(np.sqrt(abs(np.linalg.det(_matrix(path, found["transform_pix2angle"])))))
    beside = path.with_name(path.name.replace("image_", "psf_", 1))
    kernel = None
    if beside != path and beside.is_file():
        kernel = _datasets(beside, ("kernel_point_source",)).get("kernel_point_source")
        if kernel is None:
            raise BadFile(f"{beside}: holds no dataset 'kernel_point_source', though it stands beside {path.name}")
    return image_batch(
        path,
        found["image_data"],
        noise_std=_noise(found),
        psf=None if kernel is None else tidy_psf(beside, kernel),
        pixel_scale=pixel_scale,
        unit="e-/s",
    )


def is_psf_beside_image(path: Path) -> bool:
    """Whether ``path`` is the PSF of an image beside it, and so no image of its own."""
    return path.name.startswith("psf_") and path.with_name(path.name.replace("psf_", "image_", 1)).is_file()


def _datasets(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    try:
        with h5py.File(path, "r") as file:
            return {name: np.asarray(file[name]) for name in names if isinstance(file.get(name), h5py.Dataset)}
    except Exception as error:  # whatever reading a damaged file brings up, the file is what is wrong
        raise BadFile(f"{path}: cannot be read as HDF5 ({error})") from None


def _matrix(path: Path, matrix: NDArray[Any]) -> NDArray[Any]:
    if matrix.shape != (2, 2):
        raise BadFile(f"{path}: transform_pix2angle is of shape {matrix.shape}, expected 2 x 2")
    return matrix


def _noise(found: dict[str, NDArray[Any]]) -> NDArray[Any] | None:
    """Standard deviation of every pixel; infinite, and so bad, where nothing was exposed."""
    if "background_rms" not in found:
        return None
    image, variance = found["image_data"], np.square(found["background_rms"])
    if "exposure_time" in found:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            exposure = found["exposure_time"]
            variance = variance + np.where(exposure > 0, image.clip(min=0) / exposure, np.inf)
    return np.broadcast_to(np.sqrt(variance), image.shape)

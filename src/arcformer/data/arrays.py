"""An image in a .npy file, in any of the forms in which DeepLense data were published.

One reader for all classes: the file alone decides how it is read, its folder never.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from arcformer.batch import LensBatch
from arcformer.data.image import BadFile, image_batch
from arcformer.data.npy import read_npy
from arcformer.sim.parameters import is_logarithm

__all__ = ["AXION_MASS", "mass_among", "read_array"]

AXION_MASS = "log10_axion_mass_eV"
HALO_MASS = "log10_halo_mass"
HEAVIEST_AXION = 1e-3  # eV; a larger number is a mass of something else


def mass_among(targets: Sequence[str]) -> str:
    """Of the targets of a preset the one that stands second in its files: the axion's mass where it has one."""
    return next((name for name in (AXION_MASS, HALO_MASS) if name in targets), AXION_MASS)


def read_array(path: str | Path, *, pixel_scale: float | None = None, mass: str = AXION_MASS) -> LensBatch:
    """The image in a .npy file: H x W, C x H x W or H x W x C numbers, or an object array ``[image, mass]``.

    Every image has the target ``mass``, NaN where the file holds none, so that files of all classes make one batch.

    Args:
        path: the file.
        pixel_scale: arcsec; a .npy file never says.
        mass: name of the target that stands second in ``[image, mass]``. Of a name that begins with ``log10_`` the
            logarithm is taken. The default is DeepLense's axion mass, 10^U(-24, -22) eV; for other data give a name,
            as ``log10_halo_mass`` for ``lens_data``.

    Raises:
        BadFile: as ``read_npy`` and ``image_batch`` say; or the mass cannot be what its name says.
    """
    path = Path(path)
    array, value = read_npy(path), math.nan
    if array.dtype == object:
        array, value = _image_and_mass(path, array)
    if not math.isnan(value):
        value = _target(path, mass, value)
    return image_batch(path, array, pixel_scale=pixel_scale, targets={mass: value})


def _image_and_mass(path: Path, array: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """The two parts of ``[image, mass]``; an image alone may be wrapped as well."""
    parts = array.ravel().tolist() if array.ndim <= 1 else []
    if not 1 <= len(parts) <= 2 or not hasattr(parts[0], "dtype"):
        raise BadFile(f"{path}: an object array of shape {array.shape}; expected [image] or [image, mass]")
    try:
        return parts[0], float(parts[1]) if len(parts) == 2 else math.nan
    except (TypeError, ValueError):
        raise BadFile(f"{path}: the second part of its object array is no number but {type(parts[1])}") from None


def _target(path: Path, name: str, value: float) -> float:
    if name == AXION_MASS and not 0 < value < HEAVIEST_AXION:
        raise BadFile(f"{path}: {value:g} is no axion mass in eV; take the preset of its data, as deeplense/halo-mass")
    if not is_logarithm(name):
        return value
    if value <= 0:
        raise BadFile(f"{path}: {name} of {value:g} does not exist")
    return math.log10(value)

"""Files with images in them: which format is read by what, and which files of a folder are images."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from arcformer.batch import LensBatch
from arcformer.data.arrays import read_array
from arcformer.data.fits import read_fits
from arcformer.data.hdf5 import is_psf_beside_image, read_hdf5
from arcformer.data.image import BadFile
from arcformer.data.raster import read_raster
from arcformer.errors import InputError

__all__ = ["FORMATS", "find_images", "images_below", "read_image"]

FORMATS: dict[str, Callable[..., LensBatch]] = {
    ".npy": read_array,
    ".fits": read_fits,
    ".fits.gz": read_fits,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".png": read_raster,
    ".jpg": read_raster,
    ".jpeg": read_raster,
}
"""Readers by the end of a file's name; a reader takes a path and keyword options, and gives a batch of one."""

JUNK_FOLDERS = ("__MACOSX",)


def read_image(path: str | Path, *, classes: Iterable[str] = (), mass: str | None = None, **options: Any) -> LensBatch:
    """The one image in a file, as a batch of one: (1, C, H, W) float32 in the file's own unit.

    Args:
        path: a file in one of ``FORMATS``.
        classes: names of the classes that the batch carries; of its label the file says nothing.
        mass: the name of the target that a .npy file may hold beside its image, see ``read_array``; other formats hold
            none.
        options: what the format's reader takes: ``pixel_scale`` (arcsec) for all; ``band``, ``science``, ``noise``,
            ``psf`` for FITS. An option that is None counts as not given.

    Raises:
        BadFile: the file cannot be used, and why.
        InputError: no such file, an unknown format, or an option that the format does not have.
    """
    path = Path(path)
    if not path.is_file():
        raise (BadFile if path.is_symlink() else InputError)(
            f"{path}: no such file"
        )  # a broken link may be passed over
    scale = options.get("pixel_scale")
    if scale is not None and not 0 < scale < math.inf:
        raise InputError(f"a pixel scale of {scale} arcsec: expected a positive number")
    suffix = _format(path)
    if suffix is None:
        raise InputError(f"{path}: not a format that is read; known are {', '.join(FORMATS)}")
    if FORMATS[suffix] is read_array:
        options["mass"] = mass
    given = {name: value for name, value in options.items() if value is not None}
    allowed = [name for name, p in inspect.signature(FORMATS[suffix]).parameters.items() if p.kind is p.KEYWORD_ONLY]
    foreign = [name for name in given if name not in allowed]
    if foreign:
        raise InputError(f"{path}: a {suffix} file has no {', '.join(foreign)}; its options are {', '.join(allowed)}")
    return replace(FORMATS[suffix](path, **given), classes=tuple(classes))


def find_images(paths: Iterable[str | Path]) -> tuple[list[Path], int]:
    """The images among files and folders, folders in sorted order, each once; and how many junk files were passed over.

    A file that is named is always taken, so that reading it can say what is wrong with it.

    Raises:
        InputError: a path that does not exist, or no image at all.
    """
    paths = [Path(path) for path in paths]
    found: dict[Path, Path] = {}  # by where they really lie
    junk = 0
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
        images, passed = images_below(path) if path.is_dir() else ([path], 0)
        for image in images:
            found.setdefault(image.resolve(), image)
        junk += passed
    if not found:
        raise InputError(f"no image in {', '.join(map(str, paths)) or 'nothing'}; formats are {', '.join(FORMATS)}")
    return list(found.values()), junk


def images_below(folder: Path) -> tuple[list[Path], int]:
    """Every image in a folder and the folders in it, sorted, and the number of junk files.

    Junk is what has a hidden name (``.DS_Store``, ``._a.npy``), lies in ``__MACOSX``, or is in no format of
    ``FORMATS``. The PSF file of an image beside it is neither.
    """
    images, junk, walked = [], 0, set()
    for parent, folders, names in os.walk(folder, followlinks=True):  # large data are often linked to where they lie
        if os.path.realpath(parent) in walked:  # by a link that leads back
            folders.clear()
            continue
        walked.add(os.path.realpath(parent))
        inside = Path(parent).relative_to(folder).parts
        for name in names:
            path = Path(parent, name)
            hidden = any(part.startswith(".") or part in JUNK_FOLDERS for part in (*inside, name))
            if hidden or _format(path) is None:
                junk += 1
            elif not is_psf_beside_image(path):
                images.append(path)
    return sorted(images), junk


def _format(path: Path) -> str | None:
    return next((suffix for suffix in FORMATS if path.name.lower().endswith(suffix)), None)

"""A preset with what was observed in the place of what was assumed: PSFs and galaxies from FITS files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.io import fits
from torch import Tensor
from torch.nn import functional as F

from arcformer.data.files import images_below, read_image
from arcformer.data.image import BadFile
from arcformer.errors import InputError
from arcformer.sim.galaxies import Galaxy, Stamps
from arcformer.sim.instrument import PixelPSF
from arcformer.sim.preset import Preset

__all__ = ["observed", "read_psf", "read_stamps"]


def observed(
    preset: Preset,
    *,
    psf: str | Path | None = None,
    sources: str | Path | None = None,
    lenses: str | Path | None = None,
) -> Preset:
    """The preset with an empirical PSF, with pictures of galaxies as sources, or as the light of the lens.

    Where a galaxy is, and how bright, is still drawn from the preset's priors; its picture is one of those in the
    folder, at a random angle.

    >>> simulate(observed(PRESETS.get("survey/hst"), psf="f160w.fits", sources="galaxies"), 3, seed=0)

    Args:
        preset: the preset.
        psf: a FITS file with one PSF or a set of them, on the pixels of the preset (see ``read_psf``).
        sources, lenses: folders of FITS stamps of single galaxies (see ``read_stamps``).

    Raises:
        BadFile: a PSF that cannot be used, or a folder without a stamp that can.
        InputError: a preset whose galaxies have no magnitudes, which pictures need.
    """
    if psf is not None:
        seen = read_psf(psf, preset.pixel_scale)
        preset = replace(preset, instrument=replace(preset.instrument, psf=seen))
    if sources is not None:
        preset = replace(preset, source=_pictured(preset, preset.source, sources))
    if lenses is not None:
        if not preset.lens_light:
            raise InputError(f"{preset.name} has no light of the lens that pictures could take the place of")
        preset = replace(preset, lens_light=(_pictured(preset, preset.lens_light[0], lenses),))
    return preset


def read_psf(path: str | Path, pixel_scale: float) -> PixelPSF:
    """The PSF, (k, k), or the set of PSFs, (S, k, k), in the first extension of a FITS file that holds an image.

    Nothing is mended: a PSF that is off its centre would move every image.

    Raises:
        BadFile: no such file, no image in it, a side that is even, or a sum that is not one.
    """
    try:
        with fits.open(path) as extensions:
            planes = [getattr(extension, "data", None) for extension in extensions]
    except (OSError, TypeError, ValueError) as error:
        raise BadFile(f"{path}: no PSF can be read from it ({error})") from None
    images = [plane for plane in planes if plane is not None and plane.dtype.names is None]
    if not images:
        raise BadFile(f"{path}: no extension of it holds an image")
    try:
        return PixelPSF(torch.from_numpy(np.array(images[0], dtype=np.float64)), pixel_scale)
    except InputError as error:
        raise BadFile(f"{path}: {error}") from None


def read_stamps(folder: str | Path) -> tuple[Tensor, float, tuple[str, ...]]:
    """Stamps of galaxies, each in the middle of a FITS file, sky subtracted, with its pixel scale.

    Returns:
        Pictures (S, h, w) of total flux one, smaller ones framed with zeros; their pixel scale, arcsec; and a line for
        each file that was left out: unreadable, without light, or of another pixel scale than the first.

    Raises:
        BadFile: no stamp can be used.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadFile(f"{folder}: no such folder of stamps")
    kept: list[Tensor] = []
    bad: list[str] = []
    scale: float | None = None
    for path in images_below(folder)[0]:
        try:
            picture, its = _stamp(path)
            if scale is not None and abs(its / scale - 1) > 1e-3:
                raise BadFile(f"{path}: its pixels are {its:g} arcsec, those of the first stamp {scale:g}")
        except InputError as error:
            bad.append(str(error))
            continue
        scale = its
        kept.append(picture)
    if scale is None:
        why = f"; the first: {bad[0]}" if bad else ""
        raise BadFile(f"{folder}: no stamp of a galaxy that can be used among {len(bad)} images{why}")
    height, width = (max(picture.shape[axis] for picture in kept) for axis in (0, 1))
    return torch.stack([_framed(picture, height, width) for picture in kept]), scale, tuple(bad)


def _stamp(path: Path) -> tuple[Tensor, float]:
    batch = read_image(path)
    scale = float(batch.pixel_scale[0]) if batch.pixel_scale is not None else float("nan")
    if not scale > 0:
        raise BadFile(f"{path}: it does not say its pixel scale")
    picture = batch.images[0].mean(0)
    if batch.mask is not None:
        picture = picture.masked_fill(batch.mask[0].any(0), 0.0)
    flux = float(picture.sum())
    if not flux > 0:
        raise BadFile(f"{path}: there is no light in it: its pixels add up to {flux:.3g}")
    return picture / flux, scale


def _framed(picture: Tensor, height: int, width: int) -> Tensor:
    down, across = height - picture.shape[0], width - picture.shape[1]
    return F.pad(picture, (across // 2, across - across // 2, down // 2, down - down // 2))


def _pictured(preset: Preset, galaxy: Galaxy | Stamps, folder: str | Path) -> Stamps:
    if isinstance(galaxy, Galaxy) and galaxy.magnitude is None:
        raise InputError(
            f"{preset.name} has galaxies of an amplitude, and pictures need a magnitude; use a preset with a zero "
            "point, as corrected/model-2, -3, -4 or survey/*"
        )
    pictures, scale, _ = read_stamps(folder)
    kept: dict[str, Any] = {name: getattr(galaxy, name) for name in ("x", "y", "magnitude", "colours")}
    return Stamps(pictures, scale, **kept)

"""Images in FITS files: science, noise and PSF planes found by number, by name, or by what they look like."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from arcformer.batch import LensBatch
from arcformer.data.image import BadFile, image_batch
from arcformer.data.psf import tidy_psf
from arcformer.data.sky import sky_rms
from arcformer.errors import InputError, near

__all__ = ["read_fits"]

ROLES = {
    "science": ("SCI", "SCIENCE", "BGSUB", "IMAGE", "DATA"),
    "rms": ("RMS", "ERR", "ERROR", "NOISE", "SIGMA"),
    "variance": ("VAR", "VARIANCE"),
    "weight": ("WHT", "WEIGHT", "IVAR"),
    "psf": ("PSF", "KERNEL"),
}
"""What the last word of an extension's name says of it; the words before it name its band, as in ``VIS_BGSUB``."""

NOISE_ROLES = ("rms", "variance", "weight")
DEFAULT_BAND = "VIS"
PIXEL_SCALE_KEYS = ("PIXSCALE", "PIXELSCL", "PIXSCAL1", "SECPIX")
ZERO_POINT_KEYS = ("MAGZERO", "MAGZPT", "ZEROPT")
HOPELESS = 1e6  # noise above this many times the median marks a bad pixel, as Euclid's 1e16
ALIKE = 4.0  # a weight map is believed if its noise is the sky's within this factor


@dataclass(frozen=True)
class Plane:
    """An image extension: where it stands, what its name says, and its pixels."""

    number: int
    name: str
    pixels: NDArray[Any]
    header: fits.Header

    @property
    def role(self) -> str | None:
        last = self.name.rpartition("_")[2]
        return next((role for role, words in ROLES.items() if last in words), None)

    @property
    def band(self) -> str:
        return self.name.rpartition("_")[0]

    def __str__(self) -> str:
        return f"{self.number} {self.name!r}" if self.name else str(self.number)


def read_fits(
    path: str | Path,
    *,
    pixel_scale: float | None = None,
    band: str | None = None,
    science: int | str | None = None,
    noise: int | str | None = None,
    psf: int | str | None = None,
) -> LensBatch:
    """The image in a FITS file, with its noise and PSF where it has them.

    Extensions that are not given are found by their names (``SCI``, ``VIS_BGSUB``, ``VIS_RMS``, ``PSF``, ...), and in
    a file without names by place and look: the first image is the science image; of the others a PSF is concentrated
    and free of noise, and a noise map is of the same shape, a standard deviation, variance or inverse variance as
    agrees with the sky's own scatter. A weight map that agrees with it in no such way, as an exposure map, is left out.
    The PSF is cropped and normalised. A pixel without usable noise is bad.

    Args:
        path: the file, gzipped or not.
        pixel_scale: arcsec; it goes before the WCS, and that before a header's ``PIXSCALE``. Where nothing says, the
            batch's pixel scale is NaN.
        band: which one of a file with several, as ``"NIR_Y"``; None takes the only one, or ``VIS``.
        science, noise, psf: extensions by number (0 is the first of the file) or name.

    Returns:
        A batch of one; ``unit`` is the header's ``BUNIT``, and ``extras["zero_point"]`` its magnitude zero point.

    Raises:
        BadFile: no FITS file, truncated, no image in it, or no good pixel.
        InputError: an extension or band that is not there, or several to choose from.
    """
    path = Path(path)
    primary, planes = _planes(path)
    image = _science(path, planes, band, science)
    others = [plane for plane in planes if plane is not image]
    scale = pixel_scale if pixel_scale is not None else _pixel_scale(image.header, primary)
    zero_point = _keyword(ZERO_POINT_KEYS, image.header, primary)
    kernel = _plane(path, planes, psf) if psf is not None else _find_psf(others, image)
    return image_batch(
        path,
        image.pixels,
        noise_std=_noise(path, planes, [plane for plane in others if plane is not kernel], image, noise),
        psf=None if kernel is None else tidy_psf(path, kernel.pixels),
        pixel_scale=scale,
        unit=str(image.header.get("BUNIT", "")).strip(),
        extras={} if zero_point is None else {"zero_point": zero_point},
    )


def _planes(path: Path) -> tuple[fits.Header, list[Plane]]:
    """The primary header and every extension that is an image."""
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            path.open("rb") as file,
            cast(Any, fits.open(file, memmap=False)) as hdus,
        ):
            planes = [
                Plane(number, "" if hdu.name == "PRIMARY" else hdu.name, np.asarray(hdu.data), hdu.header)
                for number, hdu in enumerate(hdus)
                if hdu.is_image and hdu.data is not None and hdu.data.ndim >= 2
            ]
            primary = hdus[0].header
    except Exception as error:  # whatever reading a damaged file brings up, the file is what is wrong
        raise BadFile(f"{path}: cannot be read as FITS ({error})") from None
    if not planes:
        raise BadFile(f"{path}: holds no image")
    return primary, planes


def _plane(path: Path, planes: Sequence[Plane], key: int | str) -> Plane:
    """The extension of that number or name; a number may come as text, from a command line."""
    key = int(key) if isinstance(key, str) and key.isdigit() else key
    found = [p for p in planes if (p.number == key if isinstance(key, int) else p.name == key.upper())]
    if len(found) == 1:
        return found[0]
    listing = ", ".join(map(str, planes))
    hint = near(key.upper(), (p.name for p in planes if p.name)) if isinstance(key, str) and not found else ""
    raise InputError(f"{path}: {len(found)} images are called {key!r}; {hint or 'its images are ' + listing}")


def _science(path: Path, planes: Sequence[Plane], band: str | None, key: int | str | None) -> Plane:
    if key is not None:
        return _plane(path, planes, key)
    named = [plane for plane in planes if plane.role == "science"]
    bands = [plane.band for plane in named]
    if band is None:
        if not named:
            return _first(path, planes)
        band = bands[0] if len(set(bands)) == 1 else DEFAULT_BAND
        if band not in bands:
            raise InputError(f"{path}: its bands are {', '.join(bands)}; choose one with band=")
    if band.upper() not in bands:
        raise InputError(f"{path}: no band {band!r}; {near(band.upper(), bands)}")
    found = [plane for plane in named if plane.band == band.upper()]
    if len(found) > 1:
        raise InputError(f"{path}: science images {', '.join(map(str, found))}; choose one with science=NUMBER")
    return found[0]


def _first(path: Path, planes: Sequence[Plane]) -> Plane:
    """The science image of a file whose names do not tell: the first, if the others can be what belongs to it."""
    first, *others = [plane for plane in planes if plane.role is None] or planes
    strange = [p for p in others if not p.name and p.pixels.shape != first.pixels.shape and not _looks_like_psf(p)]
    if strange:
        raise InputError(
            f"{path}: images {', '.join(map(str, planes))}, and nothing says which one is meant; "
            "choose it with science=NUMBER"
        )
    return first


def _relatives(others: Sequence[Plane], image: Plane, roles: Sequence[str]) -> Iterator[Plane]:
    """Extensions whose names give them one of these roles for the band of the image."""
    return (plane for plane in others if plane.role in roles and plane.band == image.band)


def _find_psf(others: Sequence[Plane], image: Plane) -> Plane | None:
    unnamed = (plane for plane in others if not plane.name and _looks_like_psf(plane))
    return next(_relatives(others, image, ("psf",)), None) or next(unnamed, None)


def _looks_like_psf(plane: Plane) -> bool:
    """Free of noise, so hardly negative anywhere, and half of its flux in a central square of a quarter of its side."""
    if plane.pixels.ndim != 2:
        return False
    pixels, (height, width) = plane.pixels, plane.pixels.shape
    centre = pixels[height * 3 // 8 : height * 5 // 8 + 1, width * 3 // 8 : width * 5 // 8 + 1]
    return bool(pixels.min() > -1e-3 * pixels.max() and centre.sum() > 0.5 * pixels.sum())


def _noise(
    path: Path, planes: Sequence[Plane], others: Sequence[Plane], image: Plane, key: int | str | None
) -> NDArray[Any] | None:
    """Standard deviation of every pixel of the image, infinite where it is bad; None where nothing tells."""
    if key is not None:
        plane = _plane(path, planes, key)
    else:
        unnamed = (p for p in others if not p.name and p.pixels.shape == image.pixels.shape)
        plane = next(_relatives(others, image, NOISE_ROLES), None) or next(unnamed, None)
    if plane is None:
        return None
    sigma = _sigma(plane, image)
    if sigma is None:
        if key is None:
            return None
        raise InputError(
            f"{path}: extension {plane}, taken as standard deviation, variance or inverse variance, disagrees with "
            f"the scatter of the sky by more than a factor {ALIKE:g}; leave noise= out to read the image without it"
        )
    good = sigma[np.isfinite(sigma) & (sigma > 0)]
    return np.where(sigma > HOPELESS * np.median(good), np.inf, sigma) if good.size else sigma


def _sigma(plane: Plane, image: Plane) -> NDArray[Any] | None:
    """The plane as a standard deviation, in the meaning of its name or the one that agrees best with the sky."""
    values = plane.pixels.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        meanings = {"rms": values, "variance": np.sqrt(values), "weight": 1 / np.sqrt(values)}
    if plane.role in ("rms", "variance"):
        return meanings[plane.role]
    if plane.role == "weight":
        meanings = {"weight": meanings["weight"]}
    pixels = torch.from_numpy(image.pixels.astype(np.float64)).reshape(1, -1, *image.pixels.shape[-2:])
    sky = float(sky_rms(pixels, ~pixels.isfinite()).nanmedian())

    def disagreement(sigma: NDArray[Any]) -> float:
        good = sigma[np.isfinite(sigma) & (sigma > 0)]
        return abs(float(np.log(np.median(good) / sky))) if good.size and sky > 0 else np.inf

    best = min(meanings.values(), key=disagreement)
    return best if disagreement(best) <= np.log(ALIKE) else None


def _pixel_scale(*headers: fits.Header) -> float | None:
    """Arcsec, from the WCS of the first header or a keyword of any; a pixel's root area where it is not square."""
    with warnings.catch_warnings(action="ignore"):
        try:
            wcs = WCS(headers[0], naxis=2)
            if wcs.has_celestial:
                return float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs)))) * 3600
        except (ValueError, TypeError, fits.VerifyError):
            pass  # a header without a usable WCS, as most simulations have
    return _keyword(PIXEL_SCALE_KEYS, *headers)


def _keyword(keys: Sequence[str], *headers: fits.Header) -> float | None:
    values = (header[key] for header in headers for key in keys if key in header)
    return next((float(value) for value in values if isinstance(value, (int, float))), None)

"""A store as files for other programs: DeepLense's layout of .npy files, and FITS."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from arcformer.batch import LensBatch
from arcformer.data.stored import StoredBatches
from arcformer.disk import check_space, unwritable, whole
from arcformer.errors import InputError
from arcformer.sim.parameters import unit_of

__all__ = ["export_deeplense", "export_fits"]

Progress = Callable[[Iterable[LensBatch], int], Iterable[LensBatch]]

BATCH = 256  # images in memory at a time
BLOCK = 2880  # bytes that a FITS header or its data fill up


def export_deeplense(store: str | Path, out: str | Path, *, progress: Progress | None = None) -> Path:
    """Write the images of a store as DeepLense's files are: ``<out>/<class>/<class>_sim_<number>.npy``.

    Counts are int64 and other images float64, (H, W), or (C, H, W) with several channels. The file of a lens with an
    axion mass is an object array ``[image, mass in eV]``, that of a lens of a preset without classes, where the mass of
    its halo is all there is to know, ``[image, mass in Msun]``. That is a pickle: this library's reader runs no code of
    it, others ask for ``allow_pickle=True``. The number is a digest of the image's id, so that the order of the files
    tells nothing of their classes.

    Args:
        store: folder of a store.
        out: new, or empty. It is there when all is written.
        progress: wraps the batches while they are written, and takes their number.

    Raises:
        InputError: no store, or a damaged one; ``out`` is not empty or cannot be written; too little space.
    """

    def write(path: Path, image: LensBatch) -> None:
        pixels = _pixels(image, np.int64, np.float64)
        mass = image.extras.get("axion_mass_eV", image.extras.get("halo_mass") if len(image.classes) == 1 else None)
        if mass is None or bool(mass.isnan()):
            np.save(path.with_name(f"{path.name}.npy"), pixels)
            return
        pair = np.empty(2, dtype=object)
        pair[:] = [pixels, float(mass)]
        np.save(path.with_name(f"{path.name}.npy"), pair, allow_pickle=True)

    return _export(store, out, write, lambda pixels: 128 + 8 * pixels, progress)


def export_fits(store: str | Path, out: str | Path, *, progress: Progress | None = None) -> Path:
    """Write the images of a store as FITS files: ``<out>/<class>/<class>_sim_<number>.fits``.

    The primary image is int32 for counts, else float32. Its header holds the unit (``BUNIT``), the class (``CLASS``),
    the image's id (``IMAGEID``), the pixel scale (``PIXSCALE`` and a WCS), and every drawn number under its own name, a
    long one as ``HIERARCH`` card; of what does not apply to a lens there is no card. The WCS stands at the arbitrary
    position (0, 0); its right ascension and declination are the x and y of the drawn numbers, along columns and rows.
    The PSF follows as extension ``PSF``, and the parameters of many masses as tables, as ``POINT`` with the columns
    ``point_x``, ``point_y``, ``point_mass``.

    Args:
        store: folder of a store.
        out: new, or empty. It is there when all is written.
        progress: wraps the batches while they are written, and takes their number.

    Raises:
        InputError: no store, or a damaged one; ``out`` is not empty or cannot be written; too little space.
    """

    def write(path: Path, image: LensBatch) -> None:
        primary = fits.PrimaryHDU(_pixels(image, np.int32, np.float32))
        _describe(primary.header, image)
        psf = [] if image.psf is None else [fits.ImageHDU(image.psf[0].numpy(), name="PSF")]
        fits.HDUList([primary, *psf, *_tables(image)]).writeto(path.with_name(f"{path.name}.fits"))

    return _export(store, out, write, lambda pixels: 6 * BLOCK + 4 * pixels, progress)


def _export(
    store: str | Path,
    out: str | Path,
    write: Callable[[Path, LensBatch], None],
    size: Callable[[int], int],
    progress: Progress | None,
) -> Path:
    """Write every image with ``write``, to a path that lacks its suffix; it takes ``size`` bytes for so many pixels."""
    batches, out = StoredBatches(store, batch_size=BATCH), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there and not empty, and nothing is overwritten: name a new folder")
    first = batches.batch(0)[0].images
    check_space(out, len(batches) * size(first.numel()), f"{len(batches)} files")
    read = (batches.batch(k) for k in range(batches.batches))
    with unwritable(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole(out) as unfinished:
            for name in batches.classes:
                (unfinished / name).mkdir(parents=True)
            for batch in progress(read, batches.batches) if progress else read:
                for row in range(len(batch)):
                    image = batch[row]
                    name = _class(image)
                    write(unfinished / name / f"{name}_sim_{_number(image.ids[0])}", image)
    return out


def _class(image: LensBatch) -> str:
    assert image.labels is not None
    return image.classes[int(image.labels)]


def _number(name: str) -> int:
    """A number of 128 bits for an id, as DeepLense's files have."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")


def _pixels(image: LensBatch, counts: type[np.integer], flux: type[np.floating]) -> NDArray[Any]:
    pixels = image.images[0].numpy()
    whole_numbers = image.unit == "counts" and bool(
        (pixels == np.rint(pixels)).all()
    )  # with a background, they are not
    return np.ascontiguousarray(pixels[0] if len(pixels) == 1 else pixels, counts if whole_numbers else flux)


def _describe(header: fits.Header, image: LensBatch) -> None:
    """Cards on what the image is, where its pixels are, and what was drawn for it."""
    if image.unit:
        header["BUNIT"] = (image.unit, "unit of the pixels")
    header["CLASS"] = (_class(image), "class of the lens")
    header["IMAGEID"] = (image.ids[0], "preset, seed, shard, row")
    if image.pixel_scale is not None:
        scale = float(image.pixel_scale)
        header["PIXSCALE"] = (scale, "[arcsec] side of a pixel")
        for axis, kind in ((1, "RA---TAN"), (2, "DEC--TAN")):
            header[f"CTYPE{axis}"] = kind
            header[f"CUNIT{axis}"] = "deg"
            header[f"CRVAL{axis}"] = (0.0, "a simulated lens is nowhere on the sky")
            header[f"CRPIX{axis}"] = ((image.images.shape[-axis] + 1) / 2, "middle of the image")
            header[f"CDELT{axis}"] = scale / 3600
    for name, values in sorted(image.extras.items()):
        value = values[0].item() if values.ndim == 1 else np.nan
        if np.isfinite(value):
            unit = _unit(name)
            header[name if len(name) <= 8 else f"HIERARCH {name}"] = (value, f"[{unit}] drawn" if unit else "drawn")


def _tables(image: LensBatch) -> list[fits.BinTableHDU]:
    """A table for the parameters of each kind of mass, as far as its ``_count`` says that there are any."""
    columns: dict[tuple[str, int], list[fits.Column]] = {}
    for name, values in sorted(image.extras.items()):
        if values.ndim != 2:
            continue
        kind = name.partition("_")[0]
        rows = values[0, : int(image.extras.get(f"{kind}_count", values.shape[1]))].numpy()
        if len(rows):
            columns.setdefault((kind, len(rows)), []).append(fits.Column(name, "D", unit=_unit(name), array=rows))
    return [fits.BinTableHDU.from_columns(found, name=kind.upper()) for (kind, _), found in columns.items()]


def _unit(name: str) -> str:
    """As FITS spells it."""
    return unit_of(name).replace("Msun", "solMass")

"""``arcformer simulate``: lenses of a preset on disk."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from arcformer.cli.output import counted, say
from arcformer.cli.resumable import Interrupted, given
from arcformer.errors import InputError

__all__ = ["simulate"]


class Format(StrEnum):
    """How the images lie on the disk."""

    store = "store"
    deeplense = "deeplense"
    fits = "fits"


def simulate(
    context: typer.Context,
    preset: Annotated[str, typer.Argument(help='A preset; "arcformer presets" lists them.')],
    count: Annotated[int, typer.Option(metavar="N", min=1, help="How many images, the classes balanced.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write: new, or empty.")],
    seed: Annotated[int, typer.Option(help="Same seed, same images, whatever the number of workers.")] = 0,
    pixels: Annotated[
        int | None, typer.Option(metavar="P", min=1, help="Side of the central part to render; all by default.")
    ] = None,
    psf: Annotated[Path | None, typer.Option(metavar="FITS", help="A PSF, or a set of them, on its pixels.")] = None,
    sources: Annotated[Path | None, typer.Option(metavar="DIR", help="FITS stamps of galaxies to be lensed.")] = None,
    lenses: Annotated[Path | None, typer.Option(metavar="DIR", help="FITS stamps of galaxies as lens light.")] = None,
    workers: Annotated[int, typer.Option(metavar="W", min=1, help="Processes that simulate.")] = 1,
    format: Annotated[
        Format, typer.Option(help="store: shards of images and all their parameters, for training and analysis.")
    ] = Format.store,
) -> None:
    """Simulate lenses and write them to a folder.

    With --format deeplense the folder holds a .npy file for each image in a folder for each class, as the published
    data; with fits a FITS file for each.

    Example:
      arcformer simulate deeplense/model-1 --count 3000 --seed 1 --out lenses
      arcformer simulate deeplense/model-2 --count 300 --out files --format deeplense
      arcformer simulate survey/hst --count 1000 --psf f160w.fits --sources galaxies --out lenses
    """
    from arcformer.data.observed import observed
    from arcformer.data.store import write_store
    from arcformer.disk import unwritable
    from arcformer.progress import track
    from arcformer.sim.presets import PRESETS

    simulated = observed(PRESETS.get(preset), psf=psf, sources=sources, lenses=lenses)

    def store(folder: Path) -> None:
        write_store(
            simulated, folder, count=count, seed=seed, pixels=pixels, workers=workers,
            progress=lambda chunks, total: track(chunks, "simulating", total, size=len),
        )  # fmt: skip

    if format is Format.store:
        try:
            store(out)
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted; the same command goes on: {given(context)}") from None
    else:
        _check_free(out)
        with unwritable(out):
            out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
            store(Path(folder, "store"))
            _export(format)(
                Path(folder, "store"), out, progress=lambda batches, total: track(batches, "writing", total, size=len)
            )
    say(f"{counted(count, 'image')} of {preset} (seed {seed}) in {out}")


def _export(format: Format) -> Callable[..., Path]:
    from arcformer.data import export

    return {Format.deeplense: export.export_deeplense, Format.fits: export.export_fits}[format]


def _check_free(folder: Path) -> None:
    """Asked before anything is simulated, not when it is to be exported."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there and not empty, and nothing is overwritten: name a new folder")

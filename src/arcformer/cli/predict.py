"""``arcformer predict``: files in, a table and pictures out."""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arcformer.cli.output import left_out, note, say, table
from arcformer.cli.reading import Band, Centre, Extension, Files, Folder, PixelScale, SkipBad, opened, reading
from arcformer.errors import InputError

if TYPE_CHECKING:
    from arcformer.predict import Predicted, Predictions
    from arcformer.training import Run

__all__ = ["looked", "predict", "printed"]


def predict(
    folder: Folder,
    files: Files,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write predictions.csv and a picture of each image there.")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Draw N posterior samples of each image, and write them to --out too."),
    ] = None,
    skip_bad: SkipBad = False,
    pixel_scale: PixelScale = None,
    band: Band = None,
    science: Extension = None,
    noise: Extension = None,
    psf: Extension = None,
    centre: Centre = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Apply a run to images.

    They are FITS, HDF5, npy, png or jpg. Each is cropped about its lens and resampled to the pixels that the network
    was trained on. A note says where an image is unlike all that the network has seen: take its numbers for what they
    are worth. On a terminal the result is a table, otherwise CSV. A run of regress gives mean, low and high of each
    target, of the central 68 %; where it estimates the lens, the picture has it rendered anew, and what is left. A run
    of detect gives scores and p-values, and pictures of where: see arcformer detect.

    Example:
      arcformer predict run lens.fits --out predicted
      arcformer predict run hubble --pixel-scale 0.03 --samples 1000 --out predicted
      arcformer predict run hubble euclid.fits --band VIS > predictions.csv
    """
    from arcformer.predict import write_predictions
    from arcformer.progress import track

    if samples is not None and out is None:
        raise InputError("--samples are written to a folder: name it with --out")
    extensions: Any = {"science": science, "noise": noise, "psf": psf}
    run, predictions = looked(
        folder, files, out, skip_bad, pixel_scale, centre, band=band, samples=samples, **extensions
    )
    drawing: Any = {"progress": lambda found: track(found, "drawing"), "samples_of": run if samples else None}
    written = None if out is None else write_predictions(out, predictions, **drawing)
    printed(predictions.found, as_json)
    left_out(predictions.skipped, predictions.junk)
    if written is not None:
        note(f"{written[0]} and {len(written[1]):,} pictures beside it")


def looked(
    folder: Path,
    files: list[Path],
    out: Path | None,
    skip_bad: bool,
    pixel_scale: float | None,
    centre: str | None,
    *,
    band: str | None,
    samples: int | None = None,
    check: Callable[[Run], None] = lambda run: None,
    **extensions: str | None,
) -> tuple[Run, Predictions]:
    """A run, on the device that is there, and what it says about files, with options as they stand on a command line.

    ``check`` sees the run before any file is read.

    Raises:
        InputError: for faulty options, a run that is not one, an ``out`` that must not be written to, a bad file, and
            what ``check`` raises.
    """
    from arcformer.predict import check_folder, predict
    from arcformer.progress import track

    options = reading(pixel_scale, centre, band, **extensions)
    if out is not None:
        check_folder(out)
    run = opened(folder)
    check(run)
    options |= {"skip_bad": skip_bad, "samples": samples, "progress": lambda paths: track(paths, "predicting")}
    return run, predict(run, files, **options)


def printed(found: Sequence[Predicted], as_json: bool = False) -> None:
    """The rows of predictions on stdout: JSON, a table on a terminal, CSV elsewhere."""
    rows = [one.row for one in found]
    if as_json:
        say(json.dumps([{name: _finite(value) for name, value in row.items()} for row in rows], indent=1))
        return
    if sys.stdout.isatty():
        _draw(found)
        return
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _number(value) for name, value in row.items()} for row in rows)


def _draw(found: Sequence[Predicted]) -> None:
    """A table for the eye: files by the part of their path in which they differ, and the notes below it."""
    paths = [one.path.absolute() for one in found]
    above = os.path.commonpath([path.parent for path in paths])
    names = [str(path.relative_to(above)) for path in paths]
    columns = [column for column in found[0].row if column not in ("path", "notes")]
    rows = [
        (name, *(_number(one.row[column], 3) for column in columns)) for name, one in zip(names, found, strict=True)
    ]
    table(("file", *columns), rows)
    for name, one in zip(names, found, strict=True):
        if one.notes:
            say("\n  - ".join([f"\n{name}", *one.notes]))


def _number(value: object, digits: int = 6) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def _finite(value: object) -> object:
    """JSON knows no number that is none."""
    return None if isinstance(value, float) and not math.isfinite(value) else value

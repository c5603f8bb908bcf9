"""``arcformer detect``: files in, anomalies out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arcformer.cli.output import counted, left_out, note
from arcformer.cli.predict import looked, printed
from arcformer.cli.reading import Band, Centre, Extension, Files, Folder, PixelScale, SkipBad

if TYPE_CHECKING:
    from arcformer.training import Run

__all__ = ["detect"]


def detect(
    folder: Folder,
    files: Files,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write predictions.csv and a picture of each image there.")
    ] = None,
    false_alarms: Annotated[
        float, typer.Option(metavar="RATE", help="The share of normal images that may be flagged.")
    ] = 0.01,
    fdr: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="Also decide over all files: the share of discoveries that may be normal."),
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
    """Say which images are anomalies.

    The run is one of task detect, which has learned what normal images are like. Files are read as by arcformer
    predict. Each has a score, the p-value of that among the run's calibration images, and is flagged where it is at
    most --false-alarms; with --fdr, Benjamini and Hochberg's procedure says which of all files are discoveries.
    Pictures show where an image is odd, in standard deviations of normal ones.

    Example:
      arcformer detect run lens.fits --out detected
      arcformer detect run cutouts --fdr 0.1 --skip-bad > anomalies.csv
    """
    from arcformer.detect import check_detects, decided
    from arcformer.predict import write_predictions
    from arcformer.progress import track

    rates = {"false_alarms": false_alarms, "fdr": fdr}

    def check(run: Run) -> None:
        check_detects(run, **rates)

    read: Any = {"band": band, "science": science, "noise": noise, "psf": psf}
    run, predictions = looked(folder, files, out, skip_bad, pixel_scale, centre, check=check, **read)
    predictions, notes = decided(run, predictions, **rates)
    written = None
    if out is not None:
        written = write_predictions(out, predictions, progress=lambda found: track(found, "drawing"))
    printed(predictions.found, as_json)
    left_out(predictions.skipped, predictions.junk)
    flagged = sum(bool(one.says["flag"]) for one in predictions.found)
    expected = false_alarms * len(predictions.found)
    about = f"{expected:,.0f}" if expected >= 10 else f"{expected:.2g}"
    note(f"{counted(flagged, 'image')} flagged; of as many normal ones about {about} would be")
    for line in notes:
        note(line)
    if written is not None:
        note(f"{written[0]} and {len(written[1]):,} pictures beside it")

"""``arcformer explain``: what a run looks at in images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arcformer.cli.output import left_out, note
from arcformer.cli.predict import looked, printed
from arcformer.cli.reading import Band, Centre, Extension, Files, Folder, PixelScale, SkipBad

__all__ = ["explain"]


def explain(
    folder: Folder,
    files: Files,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for predictions.csv and the pictures.")],
    maps: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="M", help="rollout, norms or gradient; repeatable. All that the network has by default."
        ),
    ] = None,
    skip_bad: SkipBad = False,
    pixel_scale: PixelScale = None,
    band: Band = None,
    science: Extension = None,
    noise: Extension = None,
    psf: Extension = None,
    centre: Centre = None,
) -> None:
    """Draw what a run looks at in images, and predict them.

    Files are read as by arcformer predict. Beside each image: the roll-out of attention, how much of each place is in
    what the network pools; the length of its tokens; and what each pixel adds to the log odds of the predicted class,
    by integrated gradients. The arcs are outlined on them.

    Example:
      arcformer explain run lens.fits --out explained
      arcformer explain run cutouts --out explained --map gradient --skip-bad
    """
    from arcformer.predict import Predicted, write_predictions
    from arcformer.progress import track
    from arcformer.studies.explain import check_names, layers
    from arcformer.studies.explain import explain as mapped
    from arcformer.studies.pictures import portrait
    from arcformer.studies.style import png

    names = check_names(maps)
    run, predictions = looked(
        folder, files, out, skip_bad, pixel_scale, centre, band=band, science=science, noise=noise, psf=psf
    )
    device = next(run.task.parameters()).device
    found = {id(one): mapped(run.task, one.seen.to(device), names) for one in track(predictions.found, "explaining")}

    def picture(one: Predicted) -> bytes:
        return png(portrait(one.image, one.probabilities or None, layers(found[id(one)][0])))

    table, pictures = write_predictions(out, predictions, picture=picture, progress=lambda some: track(some, "drawing"))
    printed(predictions.found)
    left_out(predictions.skipped, predictions.junk)
    for missing in dict.fromkeys(line for _, lines in found.values() for line in lines):
        note(f"left out: {missing}")
    note(f"{table} and {len(pictures):,} pictures beside it")

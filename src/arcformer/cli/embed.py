"""``arcformer embed``: files in, their features out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arcformer.cli.output import check_free, left_out, note, say
from arcformer.cli.reading import Band, Centre, Extension, Files, Folder, PixelScale, SkipBad, opened, reading

__all__ = ["embed"]


def embed(
    folder: Folder,
    files: Files,
    out: Annotated[
        Path, typer.Option(metavar="F.safetensors", help="Where the features go, and the catalogue, F.csv.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    skip_bad: SkipBad = False,
    pixel_scale: PixelScale = None,
    band: Band = None,
    science: Extension = None,
    noise: Extension = None,
    psf: Extension = None,
    centre: Centre = None,
) -> None:
    """Write the features that a run's backbone finds in images.

    Any run will do, of pretraining or of another task. Files are read as by arcformer predict, one at a time. F holds
    "features", a row for each file: the mean over the cells of the last feature map. The catalogue names the file of
    each row, and says where an image is unlike all that the network has seen.

    Example:
      arcformer embed run cutouts --out features.safetensors
      arcformer embed run hubble euclid.fits --band VIS --skip-bad --out features.safetensors
    """
    from arcformer.catalogue import catalogue_of
    from arcformer.embed import embed as embedded
    from arcformer.embed import write_embedding
    from arcformer.progress import track

    options = reading(pixel_scale, centre, band, science=science, noise=noise, psf=psf)
    for path in (out, catalogue_of(out)):
        check_free(path, force)
    run = opened(folder)
    found = embedded(run, files, skip_bad=skip_bad, progress=lambda paths: track(paths, "embedding"), **options)
    catalogue = write_embedding(out, found, run)
    say(f"{out}: features {len(found):,} x {found.features.shape[1]:,}\n{catalogue}: which file each row is of")
    left_out(found.skipped, found.junk)
    unlike = sum(1 for lines in found.notes if lines)
    if unlike:
        note(f"{unlike:,} of {len(found):,} images have a note in {catalogue}: read it before believing their features")

"""``arcformer population``: what many lenses say together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from arcformer.cli.output import left_out, note, say, tabulated
from arcformer.cli.reading import Band, Centre, Extension, Files, Folder, PixelScale, SkipBad, opened, reading

__all__ = ["population"]


def population(
    folder: Folder,
    files: Files,
    target: Annotated[
        str | None, typer.Option(metavar="NAME", help="A target of the run; where it has but one, that one.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write posterior, picture and a line for each image there.")
    ] = None,
    grid: Annotated[int, typer.Option(min=16, max=8192, metavar="G", help="Values that are tried.")] = 512,
    skip_bad: SkipBad = False,
    pixel_scale: PixelScale = None,
    band: Band = None,
    science: Extension = None,
    noise: Extension = None,
    psf: Extension = None,
    centre: Centre = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Infer from many lenses a number that they share.

    A run of regress gives a posterior of each image. They are multiplied, with the prior of training divided out so
    that it counts once. "shared" is the target, if all lenses have the same; "mean" and "spread" are those of a
    Gaussian, if it is scattered among them. Files are read as by arcformer predict.

    Example:
      arcformer population run lenses --target f_sub --out population
      arcformer population run hubble --pixel-scale 0.03 --target theta_E > population.csv
    """
    from arcformer.population import check_folder, check_target, write_population
    from arcformer.population import population as inferred
    from arcformer.progress import track

    options = reading(pixel_scale, centre, band, science=science, noise=noise, psf=psf)
    if out is not None:
        check_folder(out)
    run = opened(folder)
    target = check_target(run, target)
    options |= {"grid": grid, "skip_bad": skip_bad, "progress": lambda paths: track(paths, "inferring")}
    found = inferred(run, files, target, **options)
    written = None if out is None else write_population(out, found, run)
    rows = [{"target": target, "lenses": len(found)} | row for row in found.rows]
    lines = [[f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    if as_json:
        say(json.dumps(rows, indent=1))
    else:
        tabulated(list(rows[0]), lines)
    left_out(found.skipped, found.junk)
    for remark in found.remarks:
        note(remark)
    if written is not None:
        note(f"{written}, with posterior.csv, lenses.csv and population.png beside it")

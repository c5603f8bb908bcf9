"""How verbs that look at images with a run are told of both: their arguments and options, and what becomes of these."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arcformer.errors import InputError

if TYPE_CHECKING:
    from arcformer.training import Run

__all__ = ["Band", "Centre", "Extension", "Files", "Folder", "PixelScale", "SkipBad", "opened", "reading"]

Folder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")]
Files = Annotated[list[Path], typer.Argument(metavar="FILES", help="Images, or folders of them.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave bad files out, and list them.")]
PixelScale = Annotated[float | None, typer.Option(metavar="X", help="Arcsec per pixel, where the files do not say.")]
Band = Annotated[str | None, typer.Option(metavar="B", help="The band of a FITS file with several.")]
Centre = Annotated[str | None, typer.Option(metavar="Y,X", help="The lens, in pixels from 0; found where not given.")]
Extension = Annotated[
    str | None, typer.Option(metavar="E", help="Its extension in a FITS file, number or name; found where not given.")
]


def reading(
    pixel_scale: float | None, centre: str | None, band: str | None, **extensions: str | None
) -> dict[str, Any]:
    """Options of reading as they stand on a command line, as ``predict`` and ``embed`` take them.

    Raises:
        InputError: for faulty ones.
    """
    if pixel_scale is not None and not 0 < pixel_scale < math.inf:
        raise InputError(f"--pixel-scale {pixel_scale}: expected a positive number of arcsec")
    named = {name: _number_or_name(given) for name, given in extensions.items()}
    at = None if centre is None else _pair(centre)
    return {"pixel_scale": pixel_scale, "centre": at, "band": band, **named}


def opened(folder: Path) -> Run:
    """The run in a folder, on the device that is there."""
    import torch

    from arcformer.training import load

    run = load(folder)
    run.task.to("cuda" if torch.cuda.is_available() else "cpu")
    return run


def _number_or_name(extension: str | None) -> int | str | None:
    return int(extension) if extension is not None and extension.isdigit() else extension


def _pair(text: str) -> tuple[float, float]:
    try:
        y, x = map(float, text.split(","))
    except ValueError:
        raise InputError(f"--centre {text}: expected two numbers in pixels, as 150.5,148") from None
    return y, x

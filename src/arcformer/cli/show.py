"""``arcformer show``: a picture of lenses, and of what is behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arcformer.cli.output import check_free, say
from arcformer.errors import InputError

__all__ = ["show"]

PICTURES = (".png", ".pdf", ".svg")


def show(
    what: Annotated[str, typer.Argument(metavar="PRESET|DIR|FILE", help="A preset, a store or folder, or a file.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="PICTURE", help="A .png, .pdf or .svg; named after the first by default."),
    ] = None,
    count: Annotated[int, typer.Option(metavar="N", min=1, max=20, help="Images in a row.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the images of a preset.")] = 0,
    pixels: Annotated[
        int | None, typer.Option(metavar="P", min=1, help="Side of the central part of a preset's images.")
    ] = None,
    psf: Annotated[Path | None, typer.Option(metavar="FITS", help="A PSF, or a set of them, on its pixels.")] = None,
    sources: Annotated[Path | None, typer.Option(metavar="DIR", help="FITS stamps of galaxies to be lensed.")] = None,
    lenses: Annotated[Path | None, typer.Option(metavar="DIR", help="FITS stamps of galaxies as lens light.")] = None,
    convergence: Annotated[
        bool, typer.Option("--convergence", help="Below simulated images, the convergence of substructure.")
    ] = False,
    source: Annotated[bool, typer.Option("--source", help="Below them, the source without its lens.")] = False,
    pixel_scale: Annotated[
        float | None, typer.Option(metavar="X", help="Arcsec per pixel of files that do not say.")
    ] = None,
    band: Annotated[str | None, typer.Option(metavar="B", help="The band of a FITS file with several.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a picture that is there.")] = False,
) -> None:
    """Draw lenses: a row for each class, with scale bar and colour bar.

    Example:
      arcformer show corrected/model-1 --convergence --source
      arcformer show lenses --out lenses.pdf
      arcformer show lens.fits --pixel-scale 0.03
    """
    from arcformer.disk import unwritable, whole
    from arcformer.studies.show import show as drawn
    from arcformer.studies.style import written

    out = Path(f"{_name(what)}.png") if out is None else out
    if out.suffix.lower() not in PICTURES:
        raise InputError(f"--out {out}: expected a name that ends with {', '.join(PICTURES)}")
    check_free(out, force)
    behind = [name for name, asked in (("convergence", convergence), ("source", source)) if asked]
    figure = drawn(
        what,
        count=count,
        seed=seed,
        pixels=pixels,
        behind=behind,
        psf=psf,
        sources=sources,
        lenses=lenses,
        pixel_scale=pixel_scale,
        band=band,
    )
    with unwritable(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole(out) as path:
            path.write_bytes(written(figure, out.suffix.lower()[1:]))
    say(f"{out}")


def _name(what: str) -> str:
    """``deeplense/model-1`` as ``deeplense-model-1``, a path by its last part."""
    return Path(what).resolve().stem if Path(what).exists() else what.replace("/", "-").replace(":", "-")

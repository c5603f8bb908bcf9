"""``arcformer similar``: the images that a run takes to be most like another one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arcformer.cli.output import check_free, left_out, note, tabulated
from arcformer.cli.reading import Band, Centre, Extension, Folder, PixelScale, SkipBad, opened, reading
from arcformer.errors import InputError

__all__ = ["similar"]

COLUMNS = ("rank", "cosine", "file")


def similar(
    folder: Folder,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The image that others are to be like.")],
    among: Annotated[list[Path], typer.Argument(metavar="DIR", help="Folders of images, or images, to look among.")],
    out: Annotated[Path, typer.Option(metavar="PICTURE.png", help="Where the picture goes.")],
    count: Annotated[int, typer.Option(min=1, help="How many are shown.")] = 8,
    force: Annotated[bool, typer.Option("--force", help="Replace a picture that is there.")] = False,
    skip_bad: SkipBad = False,
    pixel_scale: PixelScale = None,
    band: Band = None,
    science: Extension = None,
    noise: Extension = None,
    psf: Extension = None,
    centre: Centre = None,
) -> None:
    """Find the images that a run takes to be most like another one.

    They are those whose features have the largest cosine with the features of FILE, which is left out itself. Any run
    will do; files are read as by arcformer predict. The picture has FILE above and the others below, the most like it
    first; on a terminal the result is a table, otherwise CSV.

    Example:
      arcformer similar run lens.fits cutouts --out similar.png
      arcformer similar run lens.fits hubble euclid --count 4 --skip-bad --out similar.png
    """
    from arcformer.data.files import find_images
    from arcformer.disk import unwritable, whole
    from arcformer.embed import embed, nearest, picture
    from arcformer.progress import track
    from arcformer.studies.style import png

    options = reading(pixel_scale, centre, band, science=science, noise=noise, psf=psf)
    if out.suffix.lower() != ".png":
        raise InputError(f"--out {out}: expected a name that ends with .png")
    check_free(out, force)
    if file.is_dir():
        raise InputError(f"{file} is a folder; expected the one image that others are to be like")
    found, junk = find_images(among)
    others = [path for path in found if path.resolve() != file.resolve()]
    if not others:
        raise InputError(f"there is no image but {file} to look among")
    run = opened(folder)
    query = embed(run, [file], **options)
    among_them = embed(run, others, skip_bad=skip_bad, progress=lambda paths: track(paths, "embedding"), **options)
    rows, cosines = nearest(query.features[0], among_them.features, count)
    paths = [among_them.paths[row] for row in rows.tolist()]
    drawn = picture(run, file, paths, **options)
    with unwritable(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole(out) as path:
            path.write_bytes(png(drawn))
    lines = [
        (rank, f"{cosine:.4f}", str(path))
        for rank, (cosine, path) in enumerate(zip(cosines.tolist(), paths, strict=True), 1)
    ]
    tabulated(COLUMNS, lines)
    left_out(among_them.skipped, junk)
    for line in query.notes[0]:
        note(f"{file}: {line}")
    note(f"{out}")

"""``predict``: files in, a table and pictures out, with a note wherever an image is not what the network has seen."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.data.centre import find_centre
from arcformer.data.files import FORMATS, find_images, read_image
from arcformer.data.image import BadFile
from arcformer.data.resample import resample
from arcformer.data.transforms import TransformSection
from arcformer.disk import unwritable, whole
from arcformer.errors import InputError
from arcformer.sim.presets import PRESETS
from arcformer.studies.pictures import portrait
from arcformer.studies.style import png

if TYPE_CHECKING:
    from arcformer.training import Run

__all__ = ["Predicted", "Predictions", "check_folder", "predict", "write_predictions"]

MUTE = (".npy", ".png", ".jpg", ".jpeg")
"""Formats that never say their pixel scale: their files are taken to be like those of the run's preset."""

AGREE = 0.01
"""Pixel scales that differ by less than this share are the same."""

FAR = 0.1
"""A lens farther from the middle than this share of the image's shorter side is worth a note."""

TABLE, SKIPPED = "predictions.csv", "skipped.txt"


@dataclass(frozen=True)
class Predicted:
    """One file.

    Attributes:
        path: the file.
        image: a batch of one, cropped about the lens and resampled as the network sees it, but in the file's own unit.
        seen: the same in the range of the transform, as the network sees it.
        row: ``path``; the columns of ``Task.table``; ``centre_y`` and ``centre_x``, where the lens is in pixels of the
            file, 0 in the middle of the first; ``pixel_scale`` of the file, arcsec, empty where unknown; ``notes``.
        notes: what to know before believing the numbers; none where all is as in training.
    """

    path: Path
    image: LensBatch
    seen: LensBatch
    row: dict[str, str | float]
    notes: tuple[str, ...]

    @property
    def probabilities(self) -> dict[str, float]:
        """Of each class; empty for a task without classes."""
        return {name[2:]: float(value) for name, value in self.row.items() if name.startswith("p_")}

    def picture(self) -> bytes:
        """What the network sees, and what it says, as the content of a PNG file."""
        return png(portrait(self.image, self.probabilities or None))


@dataclass(frozen=True)
class Predictions:
    """All files.

    Attributes:
        found: those that were read, in order.
        skipped: a line for each bad file that was left out.
        junk: how many files in folders were passed over as no images.
    """

    found: tuple[Predicted, ...]
    skipped: tuple[str, ...] = ()
    junk: int = 0


@torch.no_grad()
def predict(
    run: Run,
    paths: Iterable[str | Path],
    *,
    skip_bad: bool = False,
    centre: tuple[float, float] | None = None,
    progress: Callable[[Sequence[Path]], Iterable[Path]] = iter,
    **options: Any,
) -> Predictions:
    """What a run says about images in files, on the device where the weights of ``run.task`` lie.

    Each image is cropped about its lens and resampled to the pixels that the network was trained on, its flux kept.

    Args:
        run: as ``arcformer.load`` gives it.
        paths: files, or folders of them.
        skip_bad: whether bad files are left out, and listed.
        centre: where the lens is in every file, y and x in pixels, 0 in the middle of the first; None: it is found.
        progress: wraps the files while they are predicted, as a progress bar does.
        options: passed to ``read_image``. ``pixel_scale``, arcsec, counts for the files that do not say theirs.

    Raises:
        BadFile: without ``skip_bad``, the first file that cannot be used; with it, when none can.
        InputError: a path that does not exist, no image at all, or an option that a format does not have.

    Example:
        >>> for one in predict(arcformer.load("demo/run"), ["lens.fits"]).found:
        ...     print(one.path, one.row["class"], one.probabilities, *one.notes)
    """
    files, junk = find_images(paths)
    run.task.eval()
    found, skipped = [], []
    for path in progress(files):
        try:
            found.append(_predict(run, path, centre, options))
        except BadFile as error:
            if not skip_bad or len(skipped) + 1 == len(files):
                raise
            skipped.append(str(error))
    return Predictions(tuple(found), tuple(skipped), junk)


def write_predictions(
    folder: str | Path,
    predictions: Predictions,
    *,
    picture: Callable[[Predicted], bytes] = Predicted.picture,
    progress: Callable[[Sequence[Predicted]], Iterable[Predicted]] = iter,
) -> tuple[Path, list[Path]]:
    """Write ``predictions.csv``, a row a file, and a picture of each; ``skipped.txt`` where files were left out.

    A picture is called like its file, with a number where two are called alike; the table's last column names it.

    Args:
        folder: new, empty, or one that this function wrote before and nothing else was put in: then it is replaced.
        predictions: as ``predict`` gives them.
        picture: of one of them, as the content of a PNG file.
        progress: wraps what was found while it is drawn, as a progress bar does.

    Returns:
        Where the table lies, and where the pictures lie.

    Raises:
        InputError: the folder holds something else, or cannot be written to.
    """
    folder = Path(folder)
    names = _picture_names([one.path for one in predictions.found])
    with unwritable(folder):
        for path in check_folder(folder):
            path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        rows = [one.row | {"picture": name} for one, name in zip(predictions.found, names, strict=True)]
        with whole(folder / TABLE) as path, path.open("w", newline="", errors="surrogateescape") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else ["path"])
            writer.writeheader()
            writer.writerows({name: _number(value) for name, value in row.items()} for row in rows)
        if predictions.skipped:
            (folder / SKIPPED).write_text("\n".join(predictions.skipped) + "\n", errors="surrogateescape")
        for one, name in zip(progress(predictions.found), names, strict=True):
            (folder / name).write_bytes(picture(one))
    return folder / TABLE, [folder / name for name in names]


def _predict(run: Run, path: Path, centre: tuple[float, float] | None, options: dict[str, Any]) -> Predicted:
    image, notes = _read(run, path, options)
    lens = find_centre(image.to(_device(run))).cpu() if centre is None else _given(path, image, centre)
    if centre is None:
        notes += _astray(image, lens)
    section = run.transform.section
    try:
        grid = resample(image, section.size, section.pixel_scale, lens)
        seen = run.transform(image, centre=lens)
        prediction = run.task.predict(seen.to(_device(run)))
        notes += [*_lacking(image, grid, section, lens), *run.domain.departures(image, run.transform, lens)]
    except InputError as error:
        raise BadFile(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    table = {name: column[0] for name, column in run.task.table(prediction).items()}
    y, x = (round(at, 2) for at in lens[0].tolist())
    scale = float(f"{_scale(image):.6g}")
    place = {"centre_y": y, "centre_x": x, "pixel_scale": "" if isnan(scale) else scale, "notes": "; ".join(notes)}
    return Predicted(path, grid, seen, {"path": str(path)} | table | place, tuple(notes))


def _read(run: Run, path: Path, options: dict[str, Any]) -> tuple[LensBatch, list[str]]:
    """The image, with a pixel scale if the transform needs one, and notes on that scale."""
    options = dict(options)
    given = options.pop("pixel_scale", None)
    image = read_image(path, classes=run.classes, **options)
    if path.suffix.lower() in MUTE:  # nor do these say their unit
        image = replace(image, unit=image.unit or run.domain.unit)
    channels = image.images.shape[1]
    if channels != run.domain.channels:
        raise BadFile(
            f"{path}: its image has {_channels(channels)}, but the run was trained on images of "
            f"{_channels(run.domain.channels)}; give it such an image"
        )
    own = _scale(image)
    if not isnan(own):
        if given is not None and abs(given / own - 1) > AGREE:
            return image, [f"the pixel scale is the file's own, {own:.3g} arcsec, not {given:.3g} as given"]
        return image, []
    notes = []
    if given is None and path.suffix.lower() in MUTE:
        preset = PRESETS.get(run.config.data.preset)
        given = preset.pixel_scale
        notes.append(
            f"pixel scale and unit taken to be those of {preset.name}, {given:g} arcsec: the format does not hold them"
        )
    if given is None:
        if run.transform.section.pixel_scale is not None:
            raise BadFile(
                f"{path}: does not say its pixel scale, and the run needs images of "
                f"{run.transform.section.pixel_scale:g} arcsec per pixel; give pixel_scale (--pixel-scale) in arcsec"
            )
        return image, []
    return replace(image, pixel_scale=torch.tensor([given], dtype=torch.float32)), notes


def _given(path: Path, image: LensBatch, centre: tuple[float, float]) -> Tensor:
    sides = image.images.shape[-2:]
    if not all(-0.5 <= at <= side - 0.5 for at, side in zip(centre, sides, strict=True)):
        raise BadFile(f"{path}: centre {centre[0]:g}, {centre[1]:g} lies outside of its {sides[0]} x {sides[1]} pixels")
    return torch.tensor([centre], dtype=torch.float32)


def _astray(image: LensBatch, lens: Tensor) -> list[str]:
    """A note where the lens was found far from the middle, so that a person looks whether it is the lens."""
    sides = torch.tensor(image.images.shape[-2:])
    away = float((lens[0] - (sides - 1) / 2).norm())
    if away <= FAR * float(sides.min()):
        return []
    scale = _scale(image)
    distance = f"{away * scale:.2g} arcsec" if not isnan(scale) else f"{away:.2g} pixels"
    return [f"lens found {distance} from the middle of the image"]


def _lacking(image: LensBatch, grid: LensBatch, section: TransformSection, lens: Tensor) -> list[str]:
    """Notes on the pixels that the network sees and nobody has observed: beyond the image, or bad."""
    if grid.mask is None:
        return []
    unmasked = LensBatch(image.images, pixel_scale=image.pixel_scale)
    outside = resample(unmasked, section.size, section.pixel_scale, lens).mask
    beyond = 0.0 if outside is None else float(outside.float().mean())
    bad = float(grid.mask.float().mean()) - beyond
    named = {"lies beyond the image and is padded": beyond, "are bad pixels": bad}
    return [f"{_percent(share)} of what the network sees {what}" for what, share in named.items() if share > 1e-6]


def _picture_names(paths: Sequence[Path]) -> list[str]:
    """A name for the picture of each file, like its own and no two alike, not even to a disk that ignores case."""
    taken: set[str] = set()
    names = []
    for path in paths:
        ends = [len(suffix) for suffix in FORMATS if path.name.lower().endswith(suffix)]
        stem = path.name[: len(path.name) - max(ends, default=0)] or "image"
        name, number = f"{stem}.png", 2
        while name.lower() in taken:
            name, number = f"{stem}-{number}.png", number + 1
        taken.add(name.lower())
        names.append(name)
    return names


def check_folder(folder: Path) -> list[Path]:
    """The files of earlier predictions in ``folder``; raises ``InputError`` where it is no folder or holds others."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder for the predictions")
    there = sorted(folder.iterdir()) if folder.exists() else []
    ours = {TABLE, SKIPPED, *_pictures_in(folder / TABLE)}
    foreign = [path.name for path in there if path.name not in ours or path.is_dir()]
    if foreign or (there and not (folder / TABLE).exists()):
        raise InputError(
            f"{folder} holds something else, as {(foreign or [there[0].name])[0]}, and nothing is overwritten: "
            "name a new folder"
        )
    return there


def _pictures_in(table: Path) -> set[str]:
    """The pictures that an earlier table names."""
    if not table.is_file():
        return set()
    try:
        with table.open(newline="", errors="surrogateescape") as file:
            return {row["picture"] for row in csv.DictReader(file)}
    except (csv.Error, KeyError, ValueError):
        return set()


def _number(value: str | float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _scale(image: LensBatch) -> float:
    return nan if image.pixel_scale is None else float(image.pixel_scale[0])


def _device(run: Run) -> torch.device:
    return next(run.task.parameters()).device


def _channels(number: int) -> str:
    return "1 channel" if number == 1 else f"{number} channels"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"

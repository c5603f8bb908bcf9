"""A file as a run sees it: read, its lens found, cropped about it and resampled, with notes on what was taken on trust.

What is done with files (``predict``, ``embed``) stands on this, so that all of it reads the same files in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.data.arrays import mass_among
from arcformer.data.centre import find_centre
from arcformer.data.files import find_images, read_image
from arcformer.data.image import BadFile
from arcformer.data.resample import resample
from arcformer.data.transforms import TransformSection
from arcformer.errors import InputError
from arcformer.sim.presets import PRESETS

if TYPE_CHECKING:
    from arcformer.training import Run

__all__ = ["Seen", "device_of", "seen_by", "through"]

R = TypeVar("R")

MUTE = (".npy", ".png", ".jpg", ".jpeg")
"""Formats that never say their pixel scale: their files are taken to be like those of the run's preset."""

AGREE = 0.01
"""Pixel scales that differ by less than this share are the same."""

FAR = 0.1
"""A lens farther from the middle than this share of the image's shorter side is worth a note."""


@dataclass(frozen=True)
class Seen:
    """One file.

    Attributes:
        path: the file.
        image: a batch of one, cropped about the lens and resampled as the network sees it, but in the file's own unit.
        seen: the same in the range of the transform, as the network sees it.
        centre: y and x of the lens in pixels of the file, 0 in the middle of the first.
        pixel_scale: of the file, arcsec; not a number where unknown.
        notes: what to know before believing what a network says; none where all is as in training.
    """

    path: Path
    image: LensBatch
    seen: LensBatch
    centre: tuple[float, float]
    pixel_scale: float
    notes: tuple[str, ...]


def through(
    run: Run,
    paths: Iterable[str | Path],
    what: Callable[[Seen], R],
    *,
    skip_bad: bool = False,
    progress: Callable[[Sequence[Path]], Iterable[Path]] = iter,
    centre: tuple[float, float] | None = None,
    **options: Any,
) -> tuple[tuple[R, ...], tuple[str, ...], int]:
    """What ``what`` makes of each file, one after another.

    Args:
        run: as ``arcformer.load`` gives it.
        paths: files, or folders of them.
        what: is given each of them as the run sees it.
        skip_bad: whether bad files are left out, and listed.
        progress: wraps the files while they are gone through, as a progress bar does.
        centre, options: see ``seen_by``.

    Returns:
        What was made, a line for each bad file that was left out, and how many files in folders were passed over as no
        images.

    Raises:
        BadFile: without ``skip_bad``, the first file that cannot be used; with it, when none can.
        InputError: a path that does not exist, no image at all, or an option that a format does not have.
    """
    files, junk = find_images(paths)
    run.task.eval()
    made: list[R] = []
    skipped: list[str] = []
    for path in progress(files):
        try:
            seen = seen_by(run, path, centre, **options)
            with _of(path):
                made.append(what(seen))
        except BadFile as error:
            if not skip_bad:
                raise
            skipped.append(str(error))
            if len(skipped) == len(files):
                raise
    return tuple(made), tuple(skipped), junk


def seen_by(run: Run, path: Path, centre: tuple[float, float] | None = None, **options: Any) -> Seen:
    """A file as ``run`` sees it.

    Args:
        centre: where the lens is, y and x in pixels, 0 in the middle of the first; None: it is found.
        options: passed to ``read_image``. ``pixel_scale``, arcsec, counts where the file does not say its own.

    Raises:
        BadFile: it cannot be used, and why.
        InputError: an option that the format does not have.
    """
    image, notes = _read(run, path, options)
    lens = find_centre(image.to(device_of(run))).cpu() if centre is None else _given(path, image, centre)
    if centre is None:
        notes += _astray(image, lens)
    section = run.transform.section
    with _of(path):
        grid = resample(image, section.size, section.pixel_scale, lens)
        seen = run.transform(image, centre=lens)
        notes += [*_lacking(image, grid, section, lens), *run.domain.departures(image, run.transform, lens)]
    y, x = lens[0].tolist()
    return Seen(path, grid, seen, (y, x), _scale(image), tuple(notes))


@contextmanager
def _of(path: Path) -> Iterator[None]:
    """Makes a fault that a file is to blame for a bad file, by name."""
    try:
        yield
    except InputError as error:
        raise BadFile(str(error) if str(path) in str(error) else f"{path}: {error}") from None


def device_of(run: Run) -> torch.device:
    """Where the weights of a run lie."""
    return next(run.task.parameters()).device


def _read(run: Run, path: Path, options: dict[str, Any]) -> tuple[LensBatch, list[str]]:
    """The image, with a pixel scale if the transform needs one, and notes on that scale."""
    options = dict(options)
    given = options.pop("pixel_scale", None)
    preset = PRESETS.get(run.config.data.preset)
    options.setdefault("mass", mass_among(preset.targets))
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


def _scale(image: LensBatch) -> float:
    return nan if image.pixel_scale is None else float(image.pixel_scale[0])


def _channels(number: int) -> str:
    return "1 channel" if number == 1 else f"{number} channels"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"

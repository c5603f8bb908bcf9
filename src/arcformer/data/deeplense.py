"""DeepLense data as they were published: which files of a folder belong to which class, unmodified.

Classes are sub-folders, under their own names or an alias of the preset, at the top or below ``train``, ``val`` and
``test``; where all images are of one class, they need no folder of it. The order of the classes is the caller's, that
of the files is sorted; the file system decides nothing.

Pairs of a low and a high resolution lie in ``LR`` and ``HR`` and have no classes. Their two files are joined by the
number in their names, and are taken to show brightness, in one range: where the sky is as bright in both, a pixel
of the finer one holds a share of the flux as large as its share of the area.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from arcformer.batch import LensBatch
from arcformer.data.files import images_below, read_image
from arcformer.data.image import BadFile
from arcformer.errors import InputError, near

__all__ = ["Catalogue", "has_pairs", "read_pair", "scan", "scan_pairs"]

PARTS = ("train", "val", "valid", "validation", "test")


@dataclass(frozen=True)
class Catalogue:
    """The images of a folder, before any is read.

    Attributes:
        root: the folder.
        paths: its images, sorted.
        labels: for each of them the index of its class; empty where there are no classes.
        classes: names of the classes, in the caller's order.
        junk: how many files were passed over: hidden ones, ``__MACOSX``, other formats.
        bad: a line for each file that was left out because it cannot be used.
        others: how many images of each class were left out because they were not asked for.
        finer: for each image the file of the same sky at a higher resolution; empty where there are no pairs.
        alone: a line for each file that is half of a pair.
    """

    root: Path
    paths: tuple[Path, ...]
    labels: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    junk: int = 0
    bad: tuple[str, ...] = ()
    others: Mapping[str, int] = field(default_factory=dict)
    finer: tuple[Path, ...] = ()
    alone: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def names(self) -> tuple[str, ...]:
        """The files relative to the root, with forward slashes on every system: what splits are made of."""
        return tuple(path.relative_to(self.root).as_posix() for path in self.paths)

    def select(self, rows: Sequence[int]) -> Catalogue:
        """The catalogue of the images at ``rows``, in that order."""
        labels = tuple(self.labels[i] for i in rows) if self.labels else ()
        finer = tuple(self.finer[i] for i in rows) if self.finer else ()
        return replace(self, paths=tuple(self.paths[i] for i in rows), labels=labels, finer=finer)


def scan(
    root: str | Path,
    classes: Sequence[str] = (),
    aliases: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
    loose: str | None = None,
) -> Catalogue:
    """The images below ``root`` and their classes, by the names of their folders.

    Args:
        root: the folder that holds the class folders, or ``train`` and the like with the class folders in them.
        classes: names of the classes; their order is that of the labels. Without any, all images below ``root`` are
            taken, without labels.
        aliases: other names of class folders, as ``{"sphere": "cdm"}``. Upper and lower case are the same.
        only: the classes whose images are taken, and the only ones that labels count; none: all of ``classes``.
        loose: the class of images beside class folders; None: there must be none, unless there is but one class to be
            taken.

    Raises:
        InputError: no such folder; a folder with images that is no class; images beside class folders of which nobody
            says the class; no image at all, or none of ``only``.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    paths, junk = images_below(root)
    if not paths:
        raise InputError(f"{root} holds no image; {junk} files in it are hidden or in no known format")
    if not classes:
        return Catalogue(root, tuple(paths), junk=junk)
    kept = tuple(name for name in classes if name in only or not only)
    named = _classes_of(root, paths, classes, aliases or {}, loose or (kept[0] if len(kept) == 1 else None))
    others = {name: named.count(name) for name in classes if name not in kept and name in named}
    rows = [row for row, name in enumerate(named) if name in kept]
    if not rows:
        raise InputError(f"{root} holds no image of {', '.join(kept)}, only of {', '.join(others)}")
    labels = tuple(kept.index(named[row]) for row in rows)
    return Catalogue(root, tuple(paths[row] for row in rows), labels, kept, junk, others=others)


def has_pairs(root: str | Path) -> bool:
    """Whether a folder holds pairs, in sub-folders ``LR`` and ``HR``."""
    return (Path(root) / "LR").is_dir() and (Path(root) / "HR").is_dir()


def scan_pairs(root: str | Path) -> Catalogue:
    """The pairs in ``root/LR`` and ``root/HR``, as ``LR/LR_7.npy`` and ``HR/HR_7.npy``, or ``sampleN.npy`` in both.

    They are in the order of their numbers; files whose number the other folder lacks are ``alone``.

    Raises:
        InputError: a folder is missing, a file has no number or a number two files, or nothing pairs.
    """
    root = Path(root)
    (low, low_junk), (high, high_junk) = _numbered(root / "LR"), _numbered(root / "HR")
    both = sorted(low.keys() & high.keys())
    if not both:
        raise InputError(f"{root}: no number of a file in LR is that of a file in HR")
    lacking = [f"{low[n]}: there is no file of its number, {n}, in HR" for n in sorted(low.keys() - high.keys())]
    lacking += [f"{high[n]}: there is no file of its number, {n}, in LR" for n in sorted(high.keys() - low.keys())]
    paths, finer = (tuple(of[n] for n in both) for of in (low, high))
    return Catalogue(root, paths, junk=low_junk + high_junk, finer=finer, alone=tuple(lacking))


def read_pair(
    low: Path, high: Path, *, factor: int | None = None, pixel_scale: float | None = None, **options: Any
) -> LensBatch:
    """A pair as a batch of one: ``images`` from ``low``, of ``pixel_scale``, and ``high_res`` as flux of its pixels.

    Args:
        factor: by how much the finer one has to be finer; None: by any whole number.
        options: passed to ``read_image``.

    Raises:
        BadFile: the sides of the two are not in a whole ratio, or not in that. And what ``read_image`` raises.
    """
    batch, fine = read_image(low, pixel_scale=pixel_scale, **options), read_image(high, **options).images
    (height, width), (fine_height, fine_width) = batch.images.shape[-2:], fine.shape[-2:]
    if fine_height % height or fine_height * width != fine_width * height or fine.shape[1] != batch.images.shape[1]:
        shapes = f"{tuple(fine.shape[1:])} and {tuple(batch.images.shape[1:])}"
        raise BadFile(f"{high} is not a whole multiple of {low} in size: they are {shapes}")
    found = fine_height // height
    if factor is not None and found != factor:
        raise BadFile(f"{high} is {found} times as fine as {low}, and task.factor is {factor}")
    return replace(batch, high_res=fine / found**2)


def _classes_of(
    root: Path, paths: Sequence[Path], classes: Sequence[str], aliases: Mapping[str, str], loose: str | None
) -> list[str]:
    """The class of each image, by the first folder on the way to it that is not ``train`` or the like.

    ``loose``: that of images in no such folder; None: there must be none.
    """
    known = {name.lower(): name for name in classes}
    known |= {alias.lower(): name for alias, name in aliases.items() if name in classes}
    found = []
    for path in paths:
        folders = list(path.relative_to(root).parts[:-1])
        while folders and folders[0].lower() in PARTS:
            del folders[0]
        if not folders and loose is not None:
            found.append(loose)
            continue
        if not folders:
            raise InputError(
                f"{path} lies in no class folder; expected one of {', '.join(classes)}, or say of which class all are "
                "(data.only)"
            )
        if folders[0].lower() not in known:
            raise InputError(f"{folders[0]!r}, the folder of {path}, is not a class; {near(folders[0].lower(), known)}")
        found.append(known[folders[0].lower()])
    return found


def _numbered(folder: Path) -> tuple[dict[int, Path], int]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; pairs lie in sub-folders LR and HR")
    images, junk = images_below(folder)
    numbered: dict[int, Path] = {}
    for path in images:
        digits = re.findall(r"\d+", path.name)
        if not digits:
            raise InputError(f"{path}: no number in its name to join it by")
        if int(digits[-1]) in numbered:
            raise InputError(f"{path} and {numbered[int(digits[-1])]} have the same number")
        numbered[int(digits[-1])] = path
    return numbered, junk

"""Batches from a folder of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import pad

from arcformer.batch import LensBatch
from arcformer.data.deeplense import Catalogue, read_pair
from arcformer.data.files import read_image
from arcformer.data.image import BadFile
from arcformer.data.pairs import binned
from arcformer.errors import InputError, near
from arcformer.randomness import stream

__all__ = ["FolderBatches", "check_files"]


def check_files(
    catalogue: Catalogue,
    *,
    skip_bad: bool = False,
    targets: Sequence[str] = (),
    progress: Callable[[Iterable[Path]], Iterable[Path]] = iter,
    **options: Any,
) -> Catalogue:
    """Read every file once, so that training does not stop at a bad one hours later.

    A file is bad where ``read_image`` says so, where its shape is not that of most, and where it lacks a target; of
    pairs, where the two do not belong together or one is missing.

    Args:
        catalogue: the files.
        skip_bad: whether bad files are left out, and listed in ``bad`` of the catalogue that comes back.
        targets: names of numbers that every file must hold, as a task learns them.
        progress: wraps the files while they are read, as a progress bar does.
        options: passed to ``read_image``, or ``read_pair``.

    Raises:
        BadFile: without ``skip_bad``, the first bad file and how many more there are; with it, when none is good.
    """
    shapes: dict[int, tuple[int, ...]] = {}
    faults: dict[int, str] = {}
    for row, path in enumerate(progress(catalogue.paths)):
        try:
            batch = _read(catalogue, row, **options)
            _check_targets(path, batch, targets)
            shapes[row] = tuple(batch.images.shape[1:])
        except BadFile as error:
            faults[row] = str(error)
    usual = Counter(shapes.values()).most_common(1)
    for row, shape in shapes.items():
        if shape != usual[0][0]:
            faults[row] = f"{catalogue.paths[row]}: its shape is {shape}, that of {usual[0][1]} others {usual[0][0]}"
    lines = [*catalogue.alone, *(faults[row] for row in sorted(faults))]
    if not lines:
        return catalogue
    if not skip_bad or len(faults) == len(catalogue):
        more = f" (and {len(lines) - 1} more bad files of {len(catalogue)})" if len(lines) > 1 else ""
        raise BadFile(f"{lines[0]}{more}")
    kept = catalogue.select([row for row in range(len(catalogue)) if row not in faults])
    return replace(kept, bad=(*catalogue.bad, *lines), alone=())


def _read(catalogue: Catalogue, row: int, **options: Any) -> LensBatch:
    """The image, or pair, at ``row``."""
    if catalogue.finer:
        return read_pair(catalogue.paths[row], catalogue.finer[row], **options)
    return read_image(catalogue.paths[row], **options)


def _check_targets(path: Path, batch: LensBatch, wanted: Sequence[str]) -> None:
    for name in wanted:
        if batch.targets is None or name not in batch.target_names:
            raise BadFile(f"{path} holds no {name} to be learned; {near(name, batch.target_names)}")
        if bool(batch.targets[:, batch.target_names.index(name)].isnan().any()):
            raise BadFile(
                f"{path} holds no {name} to be learned: there is no number beside its image; choose the classes that "
                "have one (data.only), or leave out files without (data.skip_bad)"
            )


class FolderBatches:
    """A ``BatchSource`` that reads batch k of a catalogue when it is asked for it.

    One pass takes every image once; the last batch of a pass holds what remains. Pass e is in an order that depends on
    (seed, e) alone, or always in that of the catalogue. A bad file is an error: ``check_files`` finds it beforehand.

    Args:
        catalogue: the files and their labels.
        batch_size: images per batch.
        seed: of the order.
        rows: which images of the catalogue, as a split gives them; None for all.
        shuffle: whether the order changes from pass to pass.
        unit: of the images, where the files do not say, as ``"counts"``.
        binned: see ``pairs.binned``; None: images are as they are.
        options: passed to ``read_image``, or ``read_pair``, as ``pixel_scale``.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        batch_size: int,
        seed: int = 0,
        rows: Sequence[int] | None = None,
        shuffle: bool = False,
        unit: str = "",
        binned: int | None = None,
        **options: Any,
    ):
        self.catalogue = catalogue if rows is None else catalogue.select(rows)
        if not len(self.catalogue):
            raise InputError(f"{catalogue.root}: no image is left to make batches of; give it more files")
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}: expected a whole number of at least 1")
        self.batch_size, self.seed, self.shuffle, self.unit, self.options = batch_size, seed, shuffle, unit, options
        self.binned = binned

    def __len__(self) -> int:
        return len(self.catalogue)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.catalogue.classes

    @property
    def others(self) -> Mapping[str, int]:
        """How many images of classes that were not asked for lie beside them."""
        return self.catalogue.others

    @property
    def batches(self) -> int:
        return -(-len(self) // self.batch_size)

    def batch(self, k: int) -> LensBatch:
        """Batch k, its images of one shape; ids are the files relative to the catalogue's root.

        Raises:
            BadFile: one of its files is bad.
            InputError: one differs from the first in shape, unit or what else it holds.
        """
        epoch, place = divmod(k, self.batches)
        order = torch.randperm(len(self), generator=stream(self.seed, "order", epoch)) if self.shuffle else None
        rows = range(len(self))[place * self.batch_size : (place + 1) * self.batch_size]
        return binned(self._read([int(order[row]) for row in rows] if order is not None else rows), self.binned)

    def _read(self, rows: Sequence[int]) -> LensBatch:
        chosen = self.catalogue.select(rows)
        singles = [_read(chosen, row, classes=self.classes, **self.options) for row in range(len(chosen))]
        for path, single in zip(chosen.paths, singles, strict=True):
            for what, found, first in (
                ("shape", tuple(single.images.shape[1:]), tuple(singles[0].images.shape[1:])),
                ("unit", single.unit, singles[0].unit),
                ("targets", single.target_names, singles[0].target_names),
            ):
                if found != first:
                    raise InputError(f"{path}: its {what} is {found}, but that of {chosen.paths[0]} is {first}")
        batch = LensBatch.collate(_alike(singles))
        labels = torch.tensor(chosen.labels, dtype=torch.int64) if chosen.labels else None
        return replace(batch, labels=labels, ids=chosen.names, unit=self.unit or batch.unit)


def _alike(batches: Sequence[LensBatch]) -> list[LensBatch]:
    """The batches with a mask each where any of them has one, and with PSFs of the size of the largest."""
    masked = any(batch.mask is not None for batch in batches)
    largest = [max((b.psf.shape[axis] for b in batches if b.psf is not None), default=0) for axis in (1, 2)]

    def alike(batch: LensBatch) -> LensBatch:
        if masked and batch.mask is None:
            batch = replace(batch, mask=torch.zeros_like(batch.images, dtype=torch.bool))
        if batch.psf is not None:
            y, x = ((side - own) // 2 for side, own in zip(largest, batch.psf.shape[1:], strict=True))
            batch = replace(batch, psf=pad(batch.psf, (x, x, y, y)))
        return batch

    return [alike(batch) for batch in batches]

"""Batches from a store: rows in any order straight out of the mapped files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.data.index import Index
from arcformer.data.pairs import binned
from arcformer.data.shards import join_rows, open_shard
from arcformer.errors import InputError, near
from arcformer.randomness import stream

__all__ = ["StoredBatches"]


class StoredBatches:
    """A ``BatchSource`` that reads batch k of a store when it is asked for it.

    One pass takes every image once; the last batch of a pass holds what remains. Pass e is in an order that depends on
    (seed, e) alone, or always in that of the store.

    Args:
        folder: of a store, as ``write_store`` leaves it.
        batch_size: images per batch.
        rows: which images of the store, as a split of ``names`` gives them; None for all.
        seed: of the order.
        shuffle: whether the order changes from pass to pass.
        extras: whether batches hold the drawn parameters. Reading is several times faster without.
        only: the classes whose images are taken, and the only ones that labels count; none: all. How many images the
            store holds of each other class is in ``others``.
        binned: see ``pairs.binned``; None: images are as they are.

    Raises:
        InputError: no store, or one that is not finished; no image is left; a batch size below one; an unknown class.
        BadFile: a shard that is missing or damaged, by name.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        batch_size: int,
        rows: Sequence[int] | None = None,
        seed: int = 0,
        shuffle: bool = False,
        extras: bool = True,
        only: Sequence[str] = (),
        binned: int | None = None,
    ):
        self.folder, self.index = Path(folder), Index.load(folder)
        self.batch_size, self.seed, self.shuffle, self.extras = batch_size, seed, shuffle, extras
        self.binned = binned
        self._opened: dict[int, dict[str, Tensor]] = {}
        self._shuffled: tuple[int, Tensor] | None = None
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}: expected a whole number of at least 1")
        self.rows = torch.arange(self.index.plan.count) if rows is None else torch.tensor(rows, dtype=torch.int64)
        if not len(self.rows):
            raise InputError(f"{self.folder}: no image is left to make batches of; give it more")
        if not 0 <= int(self.rows.min()) <= int(self.rows.max()) < self.index.plan.count:
            raise InputError(f"{self.folder}: rows beyond the 0 to {self.index.plan.count - 1} that it holds")
        self.others: Mapping[str, int] = {}
        self._place = self._take(only) if only else None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def classes(self) -> tuple[str, ...]:
        classes = self.index.plan.classes
        if self._place is None:
            return classes
        return tuple(name for name, place in zip(classes, self._place.tolist(), strict=True) if place >= 0)

    @property
    def names(self) -> tuple[str, ...]:
        """The ids of the images, in the order of the rows."""
        return self.index.plan.ids(self.rows.tolist())

    @property
    def labels(self) -> tuple[int, ...]:
        """The classes of the images, in the order of the rows."""
        labels = self._column("labels")[self.rows]
        return tuple((labels if self._place is None else self._place[labels]).tolist())

    @property
    def targets(self) -> dict[str, Tensor]:
        """Each target of the store (N,), in the order of the rows."""
        return dict(zip(self.index.plan.target_names, self._column("targets")[self.rows].T, strict=True))

    @property
    def batches(self) -> int:
        return -(-len(self) // self.batch_size)

    def batch(self, k: int) -> LensBatch:
        epoch, place = divmod(k, self.batches)
        rows = self._order(epoch)[place * self.batch_size : (place + 1) * self.batch_size]
        return binned(self._read(rows), self.binned)

    def _order(self, epoch: int) -> Tensor:
        if not self.shuffle:
            return self.rows
        if self._shuffled is None or self._shuffled[0] != epoch:
            permuted = torch.randperm(len(self), generator=stream(self.seed, "order", epoch))
            self._shuffled = epoch, self.rows[permuted]
        return self._shuffled[1]

    def _read(self, rows: Tensor) -> LensBatch:
        """The images at ``rows`` of the store: shard by shard, then in the order asked for."""
        plan, (ascending, place) = self.index.plan, rows.sort(stable=True)
        shards, counts = (ascending // plan.shard_size).unique_consecutive(return_counts=True)
        within = (ascending % plan.shard_size).split(counts.tolist())
        batch = join_rows(
            [(self._shard(shard), part) for shard, part in zip(shards.tolist(), within, strict=True)],
            classes=self.classes,
            target_names=plan.target_names,
            ids=plan.ids(ascending.tolist()),
            unit=plan.unit,
        )
        if self._place is not None and batch.labels is not None:
            batch = replace(batch, labels=self._place[batch.labels])
        return batch if torch.equal(ascending, rows) else batch[place.argsort()]

    def _take(self, only: Sequence[str]) -> Tensor:
        """Keep the rows of these classes alone; gives the new label of each class, -1 of those that are left out."""
        classes = self.index.plan.classes
        for name in only:
            if name not in classes:
                raise InputError(f"{self.folder}: unknown class {name!r}; {near(name, classes)}")
        kept = torch.tensor([name in only for name in classes])
        labels = self._column("labels")
        left = Counter(labels[~kept[labels]].tolist())
        self.others = {name: left[k] for k, name in enumerate(classes) if left[k]}
        self.rows = self.rows[kept[labels[self.rows]]]
        if not len(self.rows):
            raise InputError(f"{self.folder}: holds no image of {', '.join(only)}, only of {', '.join(self.others)}")
        return torch.where(kept, kept.cumsum(0) - 1, -1)

    def _column(self, name: str) -> Tensor:
        """A tensor of all images of the store."""
        return torch.cat([self._shard(k)[name] for k in range(len(self.index.shards))])

    def _shard(self, k: int) -> dict[str, Tensor]:
        if k not in self._opened:
            shard = self.index.shards[k]
            self._opened[k] = open_shard(self.folder / shard.file, shard.images, extras=self.extras)
        return self._opened[k]

    def __getstate__(self) -> dict[str, Any]:
        """Without what is open: a worker process opens the files itself."""
        return self.__dict__ | {"_opened": {}, "_shuffled": None}

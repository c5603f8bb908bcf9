"""Sets of images that do not grow: the beginning of a simulated stream, and a set that is held in memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from arcformer.batch import LensBatch
from arcformer.data.simulated import SimulatedBatches
from arcformer.data.source import BatchSource
from arcformer.data.transforms import Transform
from arcformer.errors import InputError
from arcformer.randomness import stream

__all__ = ["Beginning", "Held", "chunk_size", "without_drawn"]

CHUNK = 64
"""Images, at most, that are simulated at once for a set that does not grow."""


KEPT = ("clean", "flux_zero", "flux_unit")
"""Extras that are no drawn parameters: the noise-free image, and what a scaling is undone with."""


def chunk_size(classes: int) -> int:
    """Images in a batch of a stream of which a ``Beginning`` is taken: every class as often as any other."""
    return classes * max(1, CHUNK // classes)


class Beginning:
    """A ``BatchSource`` of the first images of an endless simulated stream.

    Whole batches are made and then cut, and their size is not that of training, so a smaller set is always a part of a
    larger one, and the same whoever trains on it.

    Args:
        endless: the stream, in batches of ``chunk_size``.
        count: how many images; None: as many as there are of each class.
        of_each: how many images of each class; None: as many as ``count`` brings.

    Raises:
        InputError: neither is given, or ``count`` holds fewer than ``of_each`` of a class.
    """

    def __init__(self, endless: SimulatedBatches, *, count: int | None = None, of_each: int | None = None):
        classes = len(endless.classes)
        if count is None and of_each is None:
            raise InputError("the beginning of a stream has a count, of all images or of those of each class")
        if count is not None and of_each is not None and count < of_each * classes:
            raise InputError(f"{count} images do not hold {of_each} of each of {classes} classes")
        self.endless, self.of_each = endless, of_each
        self.images = of_each * classes if of_each is not None else count or 0

    def __len__(self) -> int:
        return self.images

    @property
    def classes(self) -> tuple[str, ...]:
        return self.endless.classes

    @property
    def batches(self) -> int:
        return -(-len(self) // self.endless.batch_size)

    def batch(self, k: int) -> LensBatch:
        k %= self.batches
        batch, size = self.endless.batch(k), self.endless.batch_size
        if self.of_each is None:
            return batch[: len(self) - k * size]
        assert batch.labels is not None
        wanted = self.of_each - k * size // len(self.classes)
        labels = batch.labels.cpu()
        kept = [(labels == label).nonzero()[:wanted, 0] for label in range(len(self.classes))]
        return batch[torch.cat(kept).sort().values]


class Held:
    """A ``BatchSource`` of the images of another one, made once, transformed and kept; each pass has its own order.

    One pass takes every image once; the last batch of a pass holds what remains. Pass e is in an order that depends on
    (seed, e) alone.

    Args:
        source: of finite length.
        transform: applied once.
        batch_size: images per batch, whatever those of ``source`` are.
        seed: of the order.
        device: where the images are kept.
        extras: whether the drawn parameters are kept too, and not only the noise-free image and the flux scale.
        progress: wraps the numbers of the batches of ``source`` while they are made, as a progress bar does.
    """

    def __init__(
        self,
        source: BatchSource,
        transform: Transform,
        *,
        batch_size: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
        extras: bool = False,
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    ):
        self.source, self.transform, self.batch_size, self.seed = source, transform, batch_size, seed
        self.device, self.extras, self.progress = device, extras, progress
        self._order: tuple[int, torch.Tensor] | None = None

    @functools.cached_property
    def images(self) -> LensBatch:
        """All of them, in the order of the source."""
        assert self.source.batches is not None
        return LensBatch.collate([self._made(k) for k in self.progress(range(self.source.batches))])

    def __len__(self) -> int:
        return len(self.images)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.classes

    @property
    def batches(self) -> int:
        return -(-len(self) // self.batch_size)

    def batch(self, k: int) -> LensBatch:
        epoch, place = divmod(k, self.batches)
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, torch.randperm(len(self), generator=stream(self.seed, "order", epoch))
        return self.images[self._order[1][place * self.batch_size : (place + 1) * self.batch_size]]

    def _made(self, k: int) -> LensBatch:
        batch = self.transform(self.source.batch(k))
        return (batch if self.extras else without_drawn(batch)).to(self.device)


def without_drawn(batch: LensBatch) -> LensBatch:
    """The batch without the parameters that were drawn: some fifty tensors, which few tasks look at."""
    return replace(batch, extras={name: extra for name, extra in batch.extras.items() if name in KEPT})

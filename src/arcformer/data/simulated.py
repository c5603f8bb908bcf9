"""Batches straight from the simulator: training needs no disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from arcformer.batch import LensBatch
from arcformer.data.pairs import binned
from arcformer.errors import InputError
from arcformer.sim.presets import PRESETS, Preset
from arcformer.sim.render import simulate

__all__ = ["SimulatedBatches"]


class SimulatedBatches:
    """A ``BatchSource`` that simulates batch k of a preset when it is asked for it.

    Args:
        preset: a preset or the name of one.
        batch_size: images per batch, the classes balanced within each.
        seed: with ``split`` and k it decides every number drawn.
        split: a name; different names under one seed are independent sets.
        pixels: side of the central part to render, None for the whole image.
        count: how many images there are; None for no end. The last batch holds what remains.
        device: where images and noise are made.
        truth: whether batches hold the noise and the noise-free image.
        finer: at how many times the resolution batches hold the noise-free sky too, see ``simulate``; None: not.
        binned: see ``pairs.binned``; None: images are as the preset has them.
    """

    def __init__(
        self,
        preset: Preset | str,
        *,
        batch_size: int,
        seed: int,
        split: str,
        pixels: int | None = None,
        count: int | None = None,
        device: torch.device | str = "cpu",
        truth: bool = False,
        finer: int | None = None,
        binned: int | None = None,
    ):
        for name, value in (("batch_size", batch_size), ("count", count)):
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}: expected a whole number of at least 1")
        self.preset = PRESETS.get(preset) if isinstance(preset, str) else preset
        self.batch_size, self.seed, self.split = batch_size, seed, split
        self.pixels, self.count, self.device, self.truth = pixels, count, device, truth
        self.finer, self.binned = finer, binned

    @property
    def classes(self) -> tuple[str, ...]:
        return self.preset.classes

    @property
    def batches(self) -> int | None:
        return None if self.count is None else -(-self.count // self.batch_size)

    def batch(self, k: int) -> LensBatch:
        size = self.batch_size
        if self.count is not None:
            k %= -(-self.count // size)
            size = min(size, self.count - k * size)
        with _one_thread():
            batch = simulate(
                self.preset,
                size,
                seed=self.seed,
                names=(self.split, k),
                pixels=self.pixels,
                device=self.device,
                truth=self.truth,
                finer=self.finer,
            )
        return binned(batch, self.binned)


@contextmanager
def _one_thread() -> Iterator[None]:
    """A batch is made by one thread, in a loader's worker and elsewhere, so that kernels are compiled once for both.

    A kernel is compiled for a number of threads, and one for several must not run in a process that was forked.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

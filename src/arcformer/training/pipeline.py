"""The road of a batch from its source to the network: read or simulated, transformed, turned; by step, rank, worker."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule, Trainer
from rich.console import Console
from torch.utils.data import DataLoader, Dataset

from arcformer.batch import LensBatch
from arcformer.data.augment import dihedral
from arcformer.data.fixed import Held, without_drawn
from arcformer.data.simulated import SimulatedBatches
from arcformer.data.source import BatchSource
from arcformer.data.symmetry import Symmetries
from arcformer.data.transforms import Transform
from arcformer.errors import InputError
from arcformer.progress import track
from arcformer.randomness import stream
from arcformer.training.recipe import RunConfig
from arcformer.training.sources import first_images, open_calibration, open_sources, simulated_on
from arcformer.training.wants import calibrated_apart, drawn_wanted

__all__ = ["Again", "Pipeline", "Prepared", "Timed"]


class Prepared(Dataset[LensBatch]):
    """Batch k of a source, transformed and then turned at random: a pure function of k.

    Args:
        transform: None: the images of the source are transformed.
        seed, symmetries: of the augmentation; batch k draws from its own stream.
        truth: whether batches hold the parameters that were drawn; from a worker every one of them costs a handle.
        keep: whether a batch stays in memory once it is made.
    """

    def __init__(
        self,
        source: BatchSource,
        transform: Transform | None,
        *,
        seed: int = 0,
        symmetries: Symmetries = "none",
        truth: bool = False,
        keep: bool = False,
    ):
        self.source, self.transform, self.seed, self.truth, self.keep = source, transform, seed, truth, keep
        self.symmetries: Symmetries = symmetries
        self._kept: dict[int, LensBatch] = {}

    def __getitem__(self, k: int) -> LensBatch:
        if k in self._kept:
            return self._kept[k]
        batch = self.source.batch(k)
        batch = batch if self.truth else without_drawn(batch)
        batch = batch if self.transform is None else self.transform(batch)
        batch = dihedral(batch, stream(self.seed, "augment", k), self.symmetries)
        if self.keep:
            self._kept[k] = batch
        return batch


class Again:
    """The first ``count`` images of a prepared source, batch by batch on ``device``, as often as they are gone through.

    Fewer where one pass over the source has fewer.
    """

    def __init__(self, prepared: Prepared, count: int, device: torch.device):
        self.prepared, self.count, self.device = prepared, count, device

    def __iter__(self) -> Iterator[LensBatch]:
        images, k, batches = 0, 0, self.prepared.source.batches
        while images < self.count and (batches is None or k < batches):
            batch = self.prepared[k][: self.count - images]
            images, k = images + len(batch), k + 1
            yield batch.to(self.device)


class Timed:
    """A loader that counts the ``seconds`` spent waiting for it, on an accelerator until the batch is made there."""

    def __init__(self, loader: DataLoader[LensBatch]):
        self.loader, self.seconds = loader, 0.0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[LensBatch]:
        batches = iter(self.loader)
        while True:
            start = time.perf_counter()
            try:
                batch = next(batches)
                if batch.images.is_cuda:
                    torch.cuda.synchronize(batch.images.device)
            except StopIteration:
                return
            finally:
                self.seconds += time.perf_counter() - start
            yield batch


class Pipeline(LightningDataModule):
    """The training and validation batches of a run. Step s on rank r of w takes training batch s * w + r.

    Where training is on an accelerator, images are simulated on it too, and workers have nothing to do; neither have
    they where the training images are few enough to be held, which they are on the device that is trained on. The
    transform and the split of files are read from the run's folder, where they must be by now.

    Attributes:
        train, validation: prepared batches.
        sample: the first training batch.
        fitted_to: the training images that the transform was fitted to, in physical units, where they are at hand.
    """

    fitted_to: Sequence[LensBatch] = ()

    def __init__(self, config: RunConfig, folder: Path, console: Console | None = None):
        super().__init__()
        self.config, self.folder, self.console = config, folder, console

    def setup(self, stage: str) -> None:
        self.transform = transform = Transform.load(self.folder / "transform.json")
        train, validation = open_sources(self.config, self.folder / "split.json", self._simulated_on)
        self._source = train
        simulated = self.config.data.folder is None  # as many images as were asked for, and costly to make again
        truth = drawn_wanted(self.config)
        turned = {"seed": self.config.seed, "symmetries": self.config.augment, "truth": truth}
        if self.config.data.fixed:
            self.train = Prepared(self._held(train, transform), None, **turned)
        else:
            self.train = Prepared(train, transform, **turned)
        self.validation = Prepared(validation, transform, truth=truth, keep=simulated)
        self.sample = self.train[0]  # in this process: what the user got wrong is said here, not in a worker

    def first(self) -> list[LensBatch]:
        """The images that the transform was fitted to, as the network sees them, but not turned; on the CPU."""
        batches, self.fitted_to = self.fitted_to or first_images(self._source), ()
        return [self.transform(batch) for batch in batches]

    def fitting(self, device: torch.device) -> Again:
        """The training images that a task fits to when it is trained."""
        transform = None if isinstance(self.train.source, Held) else self.transform
        again = Prepared(self.train.source, transform, truth=self.train.truth)
        return Again(again, self.config.data.fitting, device)

    def calibration(self, device: torch.device) -> Iterable[LensBatch]:
        """The images that a task is calibrated on: those of validation, unless it asks for its own."""
        held_out = self.validation
        if calibrated_apart(self.config):
            source = open_calibration(self.config, self.folder / "split.json", self._simulated_on)
            held_out = Prepared(source, self.transform, truth=self.train.truth)
        assert held_out.source.batches is not None
        return (held_out[k].to(device) for k in range(held_out.source.batches))

    @property
    def validation_batches(self) -> int:
        """How many batches the whole validation set has."""
        batches = self.validation.source.batches
        assert batches is not None
        return batches

    def train_dataloader(self) -> Timed:
        trainer = self._running
        rank, world = trainer.global_rank, trainer.world_size
        steps = range(trainer.global_step * world + rank, self.config.training.steps * world, world)
        self.timed = Timed(self._loader(self.train, steps))
        return self.timed

    def val_dataloader(self) -> DataLoader[LensBatch]:
        rank, world = self._running.global_rank, self._running.world_size
        if self.validation_batches < world:
            raise InputError(
                f"{self.validation_batches} validation batches for {world} processes: each needs one; "
                "raise data.validation or lower training.batch_size"
            )
        return self._loader(self.validation, range(rank, self.validation_batches, world))

    def _held(self, source: BatchSource, transform: Transform) -> Held:
        return Held(
            source,
            transform,
            batch_size=self.config.training.batch_size,
            seed=self.config.seed,
            device=self._simulated_on,
            extras=drawn_wanted(self.config),
            progress=lambda numbers: track(numbers, "training images", unit="batches", console=self.console),
        )

    @property
    def _simulated_on(self) -> torch.device:
        return simulated_on(self._running.strategy.root_device)

    @property
    def _running(self) -> Trainer:
        assert self.trainer is not None
        return self.trainer

    def _loader(self, prepared: Prepared, order: range) -> DataLoader[LensBatch]:
        chosen = self.config.data.workers
        workers = min(8, (os.cpu_count() or 1) // 2) if chosen is None else chosen
        accelerated = self._running.strategy.root_device.type == "cuda"
        held = isinstance(prepared.source, Held)
        made_there = accelerated and (held or isinstance(prepared.source, SimulatedBatches))
        if prepared.keep or held or made_there:
            workers = 0  # what is kept is kept in this process, and this one has the device
        return DataLoader(
            prepared,
            batch_size=None,
            sampler=order,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=accelerated and not made_there,
        )

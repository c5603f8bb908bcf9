"""The one Lightning module: it trains any task, keeps the average of its weights and the best of them by validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.models.average import follow
from arcformer.randomness import derive
from arcformer.tasks import Task
from arcformer.training.average import averaged, rising
from arcformer.training.build import build_task, check_steps
from arcformer.training.compiled import compiled
from arcformer.training.optimizer import optimizer
from arcformer.training.pipeline import Pipeline
from arcformer.training.precision import autocast, faster_precision
from arcformer.training.recipe import RunConfig
from arcformer.training.schedule import rate_factor
from arcformer.training.start import Start

__all__ = ["Best", "TrainedTask"]


class Best:
    """The best weights so far by the task's validation metric, on the CPU; equal values keep the earlier ones."""

    def __init__(self, metric: str, direction: str):
        self.metric, self.sign = metric, 1 if direction == "max" else -1
        self.value: float | None = None
        self.step, self.weights = 0, dict[str, Tensor]()

    def offer(self, values: dict[str, Any], step: int, task: Task) -> None:
        """Keep the weights of ``task`` where ``values`` of its metrics are better than those of before."""
        if self.metric not in values:
            raise KeyError(f"{type(task).__name__}.monitor is {self.metric!r}; its metrics are {sorted(values)}")
        value = float(values[self.metric])
        if math.isnan(value):
            raise InputError(
                f"validation at step {step}: {self.metric} is not a number; training has diverged, lower training.rate"
            )
        if self.value is None or self.sign * value > self.sign * self.value:
            self.value, self.step = value, step
            self.weights = {name: tensor.detach().cpu().clone() for name, tensor in task.state_dict().items()}

    def state(self) -> dict[str, Any]:
        return {"value": self.value, "step": self.step, "weights": self.weights}

    def restore(self, state: dict[str, Any]) -> None:
        self.value, self.step, self.weights = state["value"], state["step"], state["weights"]


class TrainedTask(LightningModule):
    """A task in training. Everything that a step does is a function of (seed, step, rank) and of the weights.

    Lightning's own record of its loops goes back to the start of an epoch; there are none here. So a resume file holds
    the number of steps instead, and the counters are set to it.

    Args:
        weights: that the backbone begins with; None: those that are drawn, or that a resume file holds.
        resumed: whether a resume file holds all state, what the task has prepared included.
    """

    def __init__(self, config: RunConfig, weights: Mapping[str, Tensor] | None = None, resumed: bool = False):
        super().__init__()
        self.config, self.resumed = config, resumed
        self._weights = weights
        chosen = config.training.precision
        self.precision: str | None = None if chosen == "auto" else chosen
        self.last: dict[str, Tensor] = {}
        self.validated: dict[str, Any] = {}

    @property
    def kept(self) -> Task:
        """The task whose weights are validated and kept: the average, or without one the task itself."""
        return self.task if self.average is None else self.average

    @property
    def pipeline(self) -> Pipeline:
        return self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]

    def setup(self, stage: str) -> None:
        torch.manual_seed(derive(self.config.seed, "weights"))
        _, channels, height, width = self.pipeline.sample.images.shape
        if height != width:
            raise InputError(f"images of {height} x {width} pixels: a network takes squares; set transform.size")
        start, classes = Start.load(self.pipeline.folder), self.pipeline.train.source.classes
        if start is not None and start.channels != channels:
            raise InputError(
                f"init: the backbone of {start.run} takes images of {start.channels} channel(s), these have {channels}"
            )
        self.image_size = height if start is None else start.image_size
        size, weights = self.image_size, self._weights
        self.task = build_task(self.config, classes, size, channels, training=True, weights=weights)
        self._weights = None
        check_steps(self.task, self.config.training)
        if not self.resumed:
            self._prepare()
        if self.config.training.freeze:
            self.task.backbone.eval()  # it drops nothing and counts nothing; Lightning leaves modes as they are
        for parameter in self.task.frozen_parameters():
            parameter.requires_grad_(False)
        self.average = averaged(self.task) if self.config.training.ema else None
        self.metrics = self.kept.metrics()
        self.best = Best(*self.task.monitor)
        self.loss: Callable[[LensBatch], dict[str, Tensor]] = self.task.loss
        if self.config.training.compile:
            self.loss = compiled(self.task.loss)

    def _prepare(self) -> None:
        """Let the task see the first images, where it asks to; every process makes the same of them."""
        if type(self.task).prepare is not Task.prepare:
            self.task.prepare(self.pipeline.first())

    def configure_optimizers(self) -> Any:
        training = self.config.training
        if not training.steps:
            return None
        moving = optimizer(self.task, training)
        schedule = LambdaLR(moving, lambda step: rate_factor(step, training.steps, training.warmup))
        return {"optimizer": moving, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: LensBatch, device: torch.device, dataloader_idx: int) -> LensBatch:
        return batch.to(device, non_blocking=True)

    def on_fit_start(self) -> None:
        if self.precision is None and not self.config.training.steps:
            self.precision = "32"
        elif self.precision is None:
            first = self.trainer.is_global_zero
            measured = faster_precision(self.task, self.pipeline.sample.to(self.device)) if first else None
            self.precision = self.trainer.strategy.broadcast(measured)

    def on_train_batch_start(self, batch: LensBatch, batch_idx: int) -> None:
        torch.manual_seed(derive(self.config.seed, "step", self.global_step, self.global_rank))

    def training_step(self, batch: LensBatch, batch_idx: int) -> Tensor:
        with self._autocast():
            parts = self.loss(batch)
        self.last = {name: part.detach() for name, part in parts.items()}
        return parts["loss"]

    def on_train_batch_end(self, outputs: Any, batch: LensBatch, batch_idx: int) -> None:
        if self.global_step == self.config.training.steps:
            self.trainer.val_check_batch = 1  # the last weights are validated, wherever the last validation was

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        step = self.global_step + 1  # Lightning counts it when this returns
        self.task.after_step(step)
        if self.average is not None:
            follow(self.average, self.task, rising(self.config.training.ema, step))

    def validation_step(self, batch: LensBatch, batch_idx: int) -> None:
        k = batch_idx * self.trainer.world_size + self.global_rank
        torch.manual_seed(derive(self.config.seed, "validation", k))
        with self._autocast():
            prediction = self.kept.predict(batch)
        self.metrics.update(prediction, batch)

    def on_validation_epoch_end(self) -> None:
        self.validated = self.metrics.compute()
        self.metrics.reset()
        self.task.judge(self.validated)
        self.best.offer(self.validated, self.global_step, self.kept)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        del checkpoint["loops"]
        checkpoint["arcformer"] = {"step": self.global_step, "precision": self.precision, "best": self.best.state()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["arcformer"]
        self.precision = state["precision"]
        self.best.restore(state["best"])
        loop = self.trainer.fit_loop.epoch_loop
        loop.batch_progress.total.ready = state["step"]
        loop.automatic_optimization.optim_progress.optimizer.step.total.completed = state["step"]

    def _autocast(self) -> torch.autocast:
        assert self.precision is not None
        return autocast(self.precision, self.device)

"""What a network is trained for: a backbone, a head, a loss, a prediction and metrics. And the registry of tasks.

A task sees batches and nothing else: it never opens a file and never names a dataset. Pretraining objectives are tasks
too. ``check_task`` is the contract as a callable.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from arcformer.batch import LensBatch
from arcformer.models import Backbone
from arcformer.registry import Registry

__all__ = ["TASKS", "Detector", "Estimator", "Prediction", "Task", "TaskMetrics"]


@dataclass(frozen=True)
class Prediction:
    """What a task says about B images: the base of dataclasses whose fields are tensors that lead with B."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The prediction with ``function`` applied to every tensor."""
        return replace(self, **{f.name: function(getattr(self, f.name)) for f in fields(self)})

    @classmethod
    def collate(cls, predictions: Sequence[Self]) -> Self:
        """Predictions one after another as one."""
        return cls(**{f.name: torch.cat([getattr(p, f.name) for p in predictions]) for f in fields(cls)})


class Task(nn.Module, ABC):
    """A backbone and what is done with its features.

    A subclass is constructed as ``cls(backbone, classes, *, options...)``. Its randomness is torch's, on the global
    generator, which training seeds for every batch. State that is fitted, not trained, is held in buffers, so that it
    is saved with the weights. An option ``targets`` names those of the images' targets that it learns, at least one:
    training sees to it that they are there, before the task is built.

    Attributes:
        monitor: the metric that chooses the best weights in validation, and ``"max"`` or ``"min"``.
        calibrates_on: ``validation``, the images that chose the weights, or ``held-out``, images of their own.
        tested_on: ``own``, the classes that it was trained on, or ``all``, those too that ``data.only`` left out.
        truth: whether batches are to hold what only a simulator knows, the noise (``noise_std``), the noise-free image
            and all that was drawn (``extras``): ``useful`` where there is a simulator, ``needed``, or ``none``. Of a
            task that has no use for what was drawn, which may be more than the images, ``noise`` where there is one.
        backbone: the backbone.
        classes: names of the classes, in the order of their labels; empty where there are none.
    """

    monitor: ClassVar[tuple[str, str]]
    truth: ClassVar[Literal["none", "noise", "useful", "needed"]] = "none"
    calibrates_on: ClassVar[Literal["validation", "held-out"]] = "validation"
    tested_on: ClassVar[Literal["own", "all"]] = "own"

    def __init__(self, backbone: Backbone, classes: Sequence[str]):
        super().__init__()
        self.backbone = backbone
        self.classes = tuple(classes)

    @abstractmethod
    def loss(self, batch: LensBatch) -> dict[str, Tensor]:
        """``"loss"``, a scalar to descend, and whatever scalars are worth logging beside it."""

    @abstractmethod
    def predict(self, batch: LensBatch) -> Prediction:
        """What the task says about the images. Truth in the batch is not looked at."""

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """Fresh metrics: ``update(prediction, batch)`` for each batch, then ``compute()`` over all, of all processes.

        Every value is a scalar. What is kept from batch to batch must be small: numbers per image, never images.
        """

    def prepare(self, batches: Sequence[LensBatch]) -> None:
        """Fit buffers to training images, before the first step. Nothing, where not overridden.

        Args:
            batches: those that the transform was fitted on, as the network sees them, but not turned. On the CPU.

        Raises:
            InputError: from such images the task cannot learn.
        """

    def fit(self, batches: Iterable[LensBatch]) -> None:
        """Fit buffers to training images, once the best weights are chosen. Nothing, where not overridden.

        Args:
            batches: of ``data.fitting`` images that training may have seen, as the network sees them, but not turned.
                They are made while they are gone through, every time anew and the same.
        """

    def calibrate(self, predictions: Sequence[Any], batches: Sequence[LensBatch]) -> None:
        """Fit buffers to predictions for images that were not trained on, after ``fit``. Nothing, where not overridden.

        They are those of validation, or held out from that too, as ``calibrates_on`` says.
        """

    def remembered(self, prediction: Any, batch: LensBatch) -> tuple[Any, LensBatch]:
        """What ``calibrate`` needs of a prediction and its batch, alone kept; unless overridden, all."""
        return prediction, batch

    def judge(self, values: Mapping[str, Any]) -> None:
        """Called with the metrics of each validation in training, before its weights may become the best.

        Raises:
            InputError: to go on is of no use. Nothing, where not overridden.
        """

    def table(self, prediction: Any) -> dict[str, list[Any]]:
        """What a person reads of a prediction: columns by name, an entry per image.

        Unless overridden, every field that has one number per image.
        """
        return {f.name: v.tolist() for f in fields(prediction) if (v := getattr(prediction, f.name)).ndim == 1}

    def after_step(self, step: int) -> None:
        """Called when the optimiser has taken step number ``step``, from 1: where teachers follow."""

    def frozen_parameters(self) -> Iterable[nn.Parameter]:
        """Parameters that are not trained."""
        return ()

    def learns(self) -> bool:
        """Whether anything is left to be trained; where nothing is, a run takes no steps."""
        frozen = {id(parameter) for parameter in self.frozen_parameters()}
        return any(parameter.requires_grad and id(parameter) not in frozen for parameter in self.parameters())


@runtime_checkable
class Estimator(Protocol):
    """What a task that gives posteriors has beside ``Task``. By this it is known, whatever its class.

    Each ``Prediction`` of it has tensors ``mean``, ``std``, ``low`` and ``high`` (B, P), the last two the ends of the
    central 68 %, and ``samples`` (B, S, P).

    Attributes:
        targets: names of the P targets, in the order of its numbers.
    """

    targets: tuple[str, ...]

    def predict(self, batch: LensBatch) -> Any: ...

    def posterior(self, batch: LensBatch, samples: int) -> Tensor:
        """So many samples (B, S, P) of each posterior, in the targets' own units."""
        ...

    def log_prob(self, prediction: Any, values: Tensor) -> Tensor:
        """The log density (B,) of ``prediction`` at ``values`` (B, P), nats; both in the targets' own units."""
        ...


@runtime_checkable
class Detector(Protocol):
    """What a task that detects anomalies has beside ``Task``. By this it is known, whatever its class.

    Each ``Prediction`` of it has tensors ``score`` and ``p_value`` (B,) and ``sigmas`` (B, H, W).

    Attributes:
        calibration: scores of normal images that it was not trained on, (n,), sorted.
    """

    calibration: Tensor

    def predict(self, batch: LensBatch) -> Any: ...

    def threshold(self, false_alarms: float) -> float:
        """The score above which at most this share of normal images lies; raises ``InputError`` for too small an n."""
        ...


Arguments = tuple[Tensor, ...] | Mapping[str, Tensor | None]


class TaskMetrics(MetricCollection):
    """A torchmetrics collection that is updated with a prediction and its batch.

    Args:
        metrics: by name; a ``ClasswiseWrapper`` brings its own names.
        arguments: from (prediction, batch) to what each metric's ``update`` takes; a mapping, where they take different
            things: then each takes those that it names.
    """

    def __init__(self, metrics: dict[str, Metric], arguments: Callable[[Any, LensBatch], Arguments]):
        super().__init__(dict(metrics))
        self.arguments = arguments

    def update(self, prediction: Prediction, batch: LensBatch) -> None:
        """Take in one batch."""
        args, named = self._given(prediction, batch)
        super().update(*args, **named)

    def forward(self, prediction: Prediction, batch: LensBatch) -> dict[str, Any]:
        """Take in one batch, and give the values for it alone."""
        args, named = self._given(prediction, batch)
        return super().forward(*args, **named)

    def _given(self, prediction: Prediction, batch: LensBatch) -> tuple[tuple[Any, ...], dict[str, Any]]:
        found = self.arguments(prediction, batch)
        return ((), dict(found)) if isinstance(found, Mapping) else (found, {})


TASKS: Registry[type[Task]] = Registry("task")

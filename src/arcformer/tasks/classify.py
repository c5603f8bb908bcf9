"""Which class of dark matter a lens shows, with probabilities that mean what they say.

The probabilities are softmax(z / T) of the logits z, with one temperature T for all classes fitted to validation images
(Guo et al. 2017, arXiv 1706.04599, section 4.2), which changes no ranking within an image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import ClasswiseWrapper, Metric
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassCalibrationError,
    MulticlassPrecision,
    MulticlassRecall,
)

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.metrics import NegativeLogLikelihood
from arcformer.models import Backbone, PoolHead
from arcformer.tasks.base import TASKS, Prediction, Task, TaskMetrics

__all__ = ["ClassPrediction", "Classify"]

HOTTEST = 20.0
"""Temperatures are sought between this and its inverse."""


@dataclass(frozen=True)
class ClassPrediction(Prediction):
    """Attributes:
    logits: (B, K), divided by the temperature.
    probabilities: (B, K), their softmax.
    """

    logits: Tensor
    probabilities: Tensor


@TASKS.register("classify")
class Classify(Task):
    """Classification by cross-entropy.

    Args:
        backbone: whose last feature map is pooled.
        classes: names of the K classes, in the order of their labels.
        label_smoothing: share of the target that is spread over all classes, in [0, 1).
        pool: ``mean`` or ``attention``.
        dropout: probability of dropping a component of the pooled vector in training.

    Raises:
        InputError: for fewer than two classes, or shares outside [0, 1).
    """

    monitor: ClassVar[tuple[str, str]] = ("auroc", "max")
    temperature: Tensor

    def __init__(
        self,
        backbone: Backbone,
        classes: Sequence[str],
        *,
        label_smoothing: float = 0.0,
        pool: Literal["mean", "attention"] = "mean",
        dropout: float = 0.0,
    ):
        super().__init__(backbone, classes)
        if len(self.classes) < 2:
            there = f"these images are of {self.classes[0]} alone" if self.classes else "these images have none"
            raise InputError(
                f"classify needs at least two classes, and {there}; take other data (data.preset, data.only) or "
                "another task"
            )
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing is a share in [0, 1), got {label_smoothing}")
        self.label_smoothing = label_smoothing
        self.head = PoolHead(backbone.dim, len(self.classes), pool=pool, dropout=dropout)
        self.register_buffer("temperature", torch.ones(()))

    def loss(self, batch: LensBatch) -> dict[str, Tensor]:
        """The cross-entropy, nats."""
        logits = self._logits(batch)
        return {"loss": F.cross_entropy(logits, self._labels(batch), label_smoothing=self.label_smoothing)}

    def predict(self, batch: LensBatch) -> ClassPrediction:
        """Calibrated probabilities, (B, K)."""
        logits = self._logits(batch) / self.temperature
        return ClassPrediction(logits, logits.softmax(1))

    def table(self, prediction: ClassPrediction) -> dict[str, list[Any]]:
        """``class``, the most probable one by name, and ``p_NAME``, the probability of each."""
        best = [self.classes[k] for k in prediction.probabilities.argmax(1).tolist()]
        probabilities = zip(self.classes, prediction.probabilities.T.tolist(), strict=True)
        return {"class": best} | {f"p_{name}": column for name, column in probabilities}

    def metrics(self) -> TaskMetrics:
        """Macro one-vs-rest AUROC, accuracy, calibration error, likelihood; recall and precision of each class.

        The AUROC is exact, not binned: a trained network's probabilities crowd at 0 and 1, where bins would decide
        which weights are best. It keeps K numbers per image, 12 MB for a million images of three classes.
        """
        k, names = len(self.classes), list(self.classes)
        metrics: dict[str, Metric] = {
            "auroc": MulticlassAUROC(k, average="macro"),
            "accuracy": MulticlassAccuracy(k, average="micro"),
            "ece": MulticlassCalibrationError(k),
            "nll": NegativeLogLikelihood(),
            "recall": ClasswiseWrapper(MulticlassRecall(k, average=None), names, prefix="recall/"),
            "precision": ClasswiseWrapper(MulticlassPrecision(k, average=None), names, prefix="precision/"),
        }
        return TaskMetrics(metrics, lambda prediction, batch: (prediction.probabilities, self._labels(batch)))

    @torch.no_grad()
    def calibrate(self, predictions: Sequence[ClassPrediction], batches: Sequence[LensBatch]) -> None:
        """Fit the temperature: the one that makes the labels of ``batches`` most likely."""
        raw = torch.cat([prediction.logits for prediction in predictions]).cpu().double() * self.temperature.item()
        labels = torch.cat([self._labels(batch) for batch in batches]).cpu()

        def nll(log_temperature: float) -> float:
            return F.cross_entropy(raw / math.exp(log_temperature), labels).item()

        ends = (-math.log(HOTTEST), math.log(HOTTEST))
        best = minimize_scalar(nll, bounds=ends, method="bounded")
        self.temperature.fill_(math.exp(best.x))  # pyright: ignore[reportAttributeAccessIssue]

    def _logits(self, batch: LensBatch) -> Tensor:
        return self.head(self.backbone.features(batch.images, batch.context)).float()

    def _labels(self, batch: LensBatch) -> Tensor:
        if batch.labels is None:
            raise InputError("classify: these images have no labels; training and evaluation need them")
        if batch.classes != self.classes:
            raise InputError(
                f"classify: the labels of these images mean {batch.classes}, the task was built for {self.classes}; "
                "give the data the same classes in the same order"
            )
        return batch.labels

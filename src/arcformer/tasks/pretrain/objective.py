"""What all objectives of pretraining share: a loss per image, features to be kept, and a watch over collapse."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import MeanMetric, Metric

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.metrics import EffectiveRank, FeatureSpread, LinearProbeAccuracy, LinearProbeAUROC, NeighbourAccuracy
from arcformer.models import Backbone
from arcformer.tasks.base import Prediction, Task, TaskMetrics
from arcformer.tasks.pretrain.draws import Draws

__all__ = ["Features", "Objective", "Scored"]


@dataclass(frozen=True)
class Features(Prediction):
    """Attributes:
    features: (B, D), the mean over the cells of the last feature map.
    """

    features: Tensor


@dataclass(frozen=True)
class Scored(Features):
    """Attributes:
    loss: (B,), how badly the objective fares with each image.
    """

    loss: Tensor


class Objective(Task):
    """A pretraining objective: a backbone is trained without labels, which need not be there.

    A subclass has ``losses``; what else a task has follows. ``metrics`` watches the features of validation images:
    their spread and effective rank, and where there are labels what simple probes can read off them. Labels are never
    trained on, nor do they choose the weights.

    Args:
        backbone: what is trained.
        classes: names of the classes; may be empty.
        least_rank: validation ends the run where the effective rank of the features is below this; 0: never.

    Raises:
        InputError: for a negative ``least_rank``.
    """

    monitor: ClassVar[tuple[str, str]] = ("loss", "min")

    def __init__(self, backbone: Backbone, classes: Sequence[str], *, least_rank: float = 1.5):
        super().__init__(backbone, classes)
        if not least_rank >= 0:
            raise InputError(f"least_rank is a number of directions, at least 0, got {least_rank}")
        self.least_rank = least_rank

    @abstractmethod
    def losses(self, batch: LensBatch, draws: Draws) -> Tensor:
        """The loss (B,) of each image; all that is random in it comes from ``draws``, or from dropout."""

    def loss(self, batch: LensBatch) -> dict[str, Tensor]:
        """The mean of ``losses``."""
        return {"loss": self.losses(batch, Draws()).mean()}

    def predict(self, batch: LensBatch) -> Features:
        """The features of each image, and its loss under fixed draws, which are alike for all."""
        return Scored(self.pooled(batch.images, batch.context), self.losses(batch, Draws.fixed(batch.images.device)))

    def pooled(self, images: Tensor, context: Tensor | None = None) -> Tensor:
        """(B, D), the mean over the cells of the last feature map."""
        return self.backbone.features(images, context)[-1].mean()

    def metrics(self) -> TaskMetrics:
        """``loss``; ``spread`` and ``rank``; with classes also ``knn_accuracy``, ``probe_accuracy``, ``probe_auroc``.

        They keep D numbers for each of at most 4096 images; see ``metrics/representation.py``, ``metrics/probes.py``.
        """
        dim, classes = self.backbone.dim, len(self.classes)
        found: dict[str, Metric] = {
            "loss": self.loss_metric(),
            "spread": FeatureSpread(dim),
            "rank": EffectiveRank(dim),
        }
        if classes > 1:
            found["knn_accuracy"] = NeighbourAccuracy(classes)
            found["probe_accuracy"] = LinearProbeAccuracy(classes)
            found["probe_auroc"] = LinearProbeAUROC(classes)
        return TaskMetrics(found, self.watched)

    def loss_metric(self) -> Metric:
        """What makes the losses of a whole set one number; takes what ``watched`` gives it by name."""
        return MeanMetric()

    def watched(self, prediction: Any, batch: LensBatch) -> Mapping[str, Tensor | None]:
        """What the metrics take, by name."""
        return self.seen(prediction, batch) | {"value": prediction.loss}

    def seen(self, prediction: Features, batch: LensBatch) -> dict[str, Tensor | None]:
        """What is watched of every objective."""
        return {"features": prediction.features, "labels": batch.labels if batch.classes == self.classes else None}

    def judge(self, values: Mapping[str, Any]) -> None:
        """End a run that has collapsed, before its weights can be kept.

        Raises:
            InputError: the effective rank is below ``least_rank``.
        """
        rank = float(torch.as_tensor(values["rank"]))
        if rank < self.least_rank:
            raise InputError(
                f"collapsed: the features of the validation images have an effective rank of {rank:.2f}, below "
                f"task.least_rank = {self.least_rank:g}; lower training.rate, or take another objective"
            )

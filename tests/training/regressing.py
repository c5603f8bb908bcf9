"""The smallest task that learns targets by name, as option ``targets``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics.regression import MeanAbsoluteError

from arcformer.batch import LensBatch
from arcformer.models import Backbone, PoolHead
from arcformer.tasks.base import Prediction, Task, TaskMetrics


@dataclass(frozen=True)
class Point(Prediction):
    values: Tensor


class Regressing(Task):
    """Least squares."""

    monitor = ("mae", "min")

    def __init__(self, backbone: Backbone, classes: Sequence[str], *, targets: Sequence[str] = ()):
        super().__init__(backbone, classes)
        self.targets = tuple(targets)
        self.head = PoolHead(backbone.dim, len(self.targets))

    def wanted(self, batch: LensBatch) -> Tensor:
        assert batch.targets is not None
        return batch.targets[:, [batch.target_names.index(name) for name in self.targets]]

    def loss(self, batch: LensBatch) -> dict[str, Tensor]:
        return {"loss": F.mse_loss(self.predict(batch).values, self.wanted(batch))}

    def predict(self, batch: LensBatch) -> Point:
        return Point(self.head(self.backbone.features(batch.images)))

    def metrics(self) -> MetricCollection:
        return TaskMetrics({"mae": MeanAbsoluteError()}, lambda p, batch: (p.values, self.wanted(batch)))

    def table(self, prediction: Point) -> dict[str, list[float]]:
        columns = torch.atleast_2d(prediction.values).T.tolist()
        return dict(zip(self.targets, columns, strict=True))

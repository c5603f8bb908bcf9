"""A stand-in of task regress: a Gaussian whose mean and width a linear head finds in pooled features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection

from arcformer.batch import LensBatch
from arcformer.models import Backbone
from arcformer.tasks import Prediction, Task


@dataclass(frozen=True)
class Posterior(Prediction):
    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor
    samples: Tensor
    features: Tensor


class Loss(MeanMetric):
    def update(self, prediction: Posterior, batch: LensBatch) -> None:  # type: ignore[override]
        super().update(prediction.mean.square())


class Estimates(Task):
    """Targets about ``centre``, each independent of the others."""

    monitor = ("loss", "min")

    def __init__(
        self,
        backbone: Backbone,
        classes: Sequence[str],
        *,
        targets: tuple[str, ...] = ("theta_E", "e1", "e2"),
        centre: tuple[float, ...] = (),
    ):
        super().__init__(backbone, classes)
        self.targets = tuple(targets)
        self.head = nn.Linear(backbone.dim, 2 * len(self.targets))
        self.centre = torch.tensor(centre or [0.0] * len(self.targets))

    def _gaussian(self, features: Tensor) -> torch.distributions.Normal:
        mean, log_std = self.head(features[:, 0]).chunk(2, dim=1)
        return torch.distributions.Normal(0.02 * mean + self.centre.to(mean), 0.05 * log_std.exp())

    def loss(self, batch: LensBatch) -> dict[str, Tensor]:
        return {"loss": -self._gaussian(self._features(batch)).log_prob(self.centre).mean()}

    def predict(self, batch: LensBatch) -> Posterior:
        features = self._features(batch)
        found = self._gaussian(features)
        ends = (found.mean - found.stddev, found.mean + found.stddev)
        return Posterior(found.mean, found.stddev, *ends, self.posterior(batch, 64), features)

    def posterior(self, batch: LensBatch, samples: int = 10_000) -> Tensor:
        found = self._gaussian(self._features(batch))
        noise = torch.randn(samples, len(self.targets), generator=torch.Generator().manual_seed(0))
        return found.mean[:, None] + found.stddev[:, None] * noise.to(found.mean)

    def log_prob(self, prediction: Posterior, values: Tensor) -> Tensor:
        return self._gaussian(prediction.features).log_prob(values).sum(1)

    def table(self, prediction: Posterior) -> dict[str, list[Any]]:
        columns = {}
        for k, name in enumerate(self.targets):
            for end, values in (("", prediction.mean), ("_low", prediction.low), ("_high", prediction.high)):
                columns[f"{name}{end}"] = values[:, k].tolist()
        return columns

    def metrics(self) -> MetricCollection:
        return MetricCollection({"loss": Loss()})

    def _features(self, batch: LensBatch) -> Tensor:
        return self.backbone.features(batch.images, batch.context)[-1].x.mean((2, 3))[:, None]

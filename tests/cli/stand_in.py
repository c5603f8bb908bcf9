"""A small regression in the place of the library's: independent Gaussians about the pooled features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanMetric

from arcformer.batch import LensBatch
from arcformer.models import Backbone, PoolHead
from arcformer.tasks import Prediction, Task, TaskMetrics

MIDDLE, SPREAD = 12.0, 0.3  # of log10 of the halo's mass


@dataclass(frozen=True)
class Posterior(Prediction):
    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor
    samples: Tensor


class Regress(Task):
    monitor = ("nll", "min")

    def __init__(self, backbone: Backbone, classes: Sequence[str], *, targets: tuple[str, ...]):
        super().__init__(backbone, classes)
        self.targets = targets
        self.head = PoolHead(backbone.dim, 2 * len(targets))

    def loss(self, batch: LensBatch) -> dict[str, Tensor]:
        return {"loss": -self.log_prob(self.predict(batch), self._truth(batch)).mean()}

    def predict(self, batch: LensBatch) -> Posterior:
        found = self.head(self.backbone.features(batch.images, batch.context)).float()
        off, width = found.chunk(2, dim=1)
        mean, std = MIDDLE + SPREAD * off, SPREAD * width.exp()
        noise = torch.randn(64, len(self.targets), generator=torch.Generator().manual_seed(0)).to(mean)
        return Posterior(mean, std, mean - std, mean + std, mean[:, None] + std[:, None] * noise)

    def log_prob(self, prediction: Posterior, values: Tensor) -> Tensor:
        return torch.distributions.Normal(prediction.mean, prediction.std).log_prob(values).sum(1)

    def metrics(self) -> TaskMetrics:
        def given(prediction: Posterior, batch: LensBatch) -> dict[str, Tensor]:
            truth = self._truth(batch)
            return {"value": -self.log_prob(prediction, truth), "preds": prediction.mean[:, 0], "target": truth[:, 0]}

        return TaskMetrics({"nll": MeanMetric(), f"mae/{self.targets[0]}": MeanAbsoluteError()}, given)

    def table(self, prediction: Any) -> dict[str, list[Any]]:
        ends = {"": prediction.mean, "_low": prediction.low, "_high": prediction.high}
        return {f"{n}{end}": v[:, k].tolist() for k, n in enumerate(self.targets) for end, v in ends.items()}

    def _truth(self, batch: LensBatch) -> Tensor:
        assert batch.targets is not None
        return batch.targets[:, [batch.target_names.index(name) for name in self.targets]]

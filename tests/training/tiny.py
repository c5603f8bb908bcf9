"""The smallest backbone and task that obey the contracts, with dropout so that every step takes random numbers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection

from arcformer.batch import LensBatch
from arcformer.models import Backbone, FeatureMap
from arcformer.tasks import Prediction, Task

HERE = Path(__file__).parent

TINY = """
seed = 3
[data]
pixels = 16
validation = 40
workers = 0
[backbone]
name = "tiny:TinyBackbone"
[task]
name = "tiny:TinyTask"
[training]
steps = 12
batch_size = 8
rate = 0.01
precision = "32"
evaluate_every = 4
save_every = 3
log_every = 2
accelerator = "cpu"
"""
"""A run of a second: 16 central pixels of Model I."""

Runs = Callable[..., list[int]]
"""``forked`` of conftest.py."""


class TinyBackbone(Backbone):
    """One convolution whose cells are 4 pixels wide."""

    def __init__(self, image_size: int, channels: int, *, width: int = 8):
        super().__init__()
        self.dim = width
        self.stem = nn.Conv2d(channels, width, 4, 4)

    def features(self, images: Tensor, context: Tensor | None = None) -> list[FeatureMap]:
        return [FeatureMap(torch.nn.functional.gelu(self.stem(images)), 4)]


@dataclass(frozen=True)
class Logits(Prediction):
    logits: Tensor


class CrossEntropy(MeanMetric):
    def update(self, prediction: Logits, batch: LensBatch) -> None:  # type: ignore[override]
        super().update(nn.functional.cross_entropy(prediction.logits, batch.labels, reduction="none"))


class ImagesSeen(Metric):
    def __init__(self) -> None:
        super().__init__()
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, prediction: Logits, batch: LensBatch) -> None:
        self.count += len(batch)

    def compute(self) -> Tensor:
        return self.count


class TinyTask(Task):
    """Classification by a linear head.

    ``record``: a folder in which every process notes the images of each of its steps.
    ``explode_at``: an optimiser step after which the weights are not finite.
    The environment variable TINY_KILL_AT names an optimiser step in which the process kills itself.
    """

    monitor = ("cross_entropy", "min")

    def __init__(self, backbone: Backbone, classes: tuple[str, ...], *, record: str = "", explode_at: int = 0):
        super().__init__(backbone, classes)
        self.record, self.explode_at = record, explode_at
        self.dropout, self.head = nn.Dropout(0.2), nn.Linear(backbone.dim, len(classes))
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("calibrated_on", torch.tensor(0))

    def predict(self, batch: LensBatch) -> Logits:
        return Logits(self.head(self.dropout(self.backbone.features(batch.images)[-1].x.mean(dim=(2, 3)))))

    def loss(self, batch: LensBatch) -> dict[str, Tensor]:
        if self.record:
            with Path(self.record, f"{os.getpid()}.txt").open("a") as file:
                file.write("\n".join(batch.ids) + "\n")
        loss = nn.functional.cross_entropy(self.predict(batch).logits, batch.labels)
        return {"loss": loss, "cross_entropy": loss}

    def metrics(self) -> MetricCollection:
        return MetricCollection({"cross_entropy": CrossEntropy(), "images": ImagesSeen()})

    def calibrate(self, predictions: list[Logits], batches: list[LensBatch]) -> None:
        self.calibrated_on.fill_(sum(len(batch) for batch in batches))

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        self.steps.fill_(step)
        if step == self.explode_at:
            self.head.weight.fill_(torch.nan)
        if step == int(os.environ.get("TINY_KILL_AT", 0)):
            os.kill(os.getpid(), signal.SIGKILL)

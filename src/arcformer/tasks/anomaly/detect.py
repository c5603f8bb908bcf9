"""Detection of anomalies: normal images alone teach what is normal, and held-out ones how rare an image is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torchmetrics import MeanMetric

from arcformer.batch import LensBatch
from arcformer.config import Component, component
from arcformer.errors import InputError
from arcformer.models import Backbone
from arcformer.tasks.anomaly.conformal import box_plot, p_values, threshold, trimmed
from arcformer.tasks.anomaly.statistic import STATISTICS, Fitted, Scores, Statistic
from arcformer.tasks.base import TASKS, Task, TaskMetrics

__all__ = ["Detect", "Detection"]

DEFAULT = Component(name="reconstruction")

WATCHED = 0.05
"""The false-alarm rate that validation looks at."""


@dataclass(frozen=True)
class Detection(Scores):
    """Attributes:
    p_value: (B,), conformal: the share of the calibration images, and of the image itself, with as high a score.
    """

    p_value: Tensor


@TASKS.register("detect")
class Detect(Fitted, Task):
    """Detection of anomalies by a statistic that only normal images have taught.

    What is normal is what it is trained on: the classes of ``data.only``, or a folder without classes. Labels are not
    looked at. Images are held out for the calibration, which makes scores of any statistic comparable.

    With ``contamination`` the statistic is fitted twice, the second time without the share of images that got the
    highest scores, and calibrated without as large a share. That assumes that at most so many of the training images
    are anomalous, that the calibration images hold as many, and that the first fit, to all, gives them the highest
    scores. Where they are fewer, normal images are left out in their place and p-values become too small: with none,
    by as much as the share. What is learned by gradient has seen all images.

    Args:
        backbone: any.
        classes: names of the classes that are normal; they are not looked at.
        statistic: a name of ``STATISTICS``, or an import string, and its options.
        contamination: the share of the training images that is presumed to be anomalous, in [0, 0.5).

    Raises:
        InputError: for a share outside this range, and what the statistic raises of its options.
    """

    monitor: ClassVar[tuple[str, str]] = ("score", "min")
    truth: ClassVar[Literal["none", "useful", "needed"]] = "useful"
    calibrates_on: ClassVar[Literal["validation", "held-out"]] = "held-out"
    tested_on: ClassVar[Literal["own", "all"]] = "all"
    calibration: Tensor

    def __init__(
        self,
        backbone: Backbone,
        classes: Sequence[str],
        *,
        statistic: component(STATISTICS, "reconstruction") = DEFAULT,  # pyright: ignore[reportInvalidTypeForm]
        contamination: float = 0.0,
    ):
        super().__init__(backbone, classes)
        if not 0 <= contamination < 0.5:
            raise InputError(
                f"contamination is the share of anomalous training images, in [0, 0.5), got {contamination}"
            )
        self.contamination = contamination
        self.statistic = _built(statistic, backbone)
        self.register_buffer("calibration", torch.zeros(0))

    def loss(self, batch: LensBatch) -> dict[str, Tensor]:
        """The mean of what the statistic learns by."""
        return {"loss": self.statistic.loss(batch).mean()}

    def predict(self, batch: LensBatch) -> Detection:
        """Scores, and what they are worth: 1 until it is calibrated."""
        scores = self.statistic.score(batch)
        return Detection(scores.score, scores.sigmas, p_values(scores.score, self.calibration))

    def metrics(self) -> TaskMetrics:
        """``score``, the mean, and ``flagged``, the share of validation images with a p-value of at most 5 %."""
        return TaskMetrics({"score": MeanMetric(), "flagged": Flagged()}, self._watched)

    def prepare(self, batches: Sequence[LensBatch]) -> None:
        """What the statistic fits to the first training images."""
        self.statistic.prepare(batches)

    @torch.no_grad()
    def fit(self, batches: Iterable[LensBatch]) -> None:
        """Fit the statistic; with ``contamination`` once more, to the images that seem to be normal."""
        self.statistic.fit(batches)
        if self.contamination and type(self.statistic).fit is not Statistic.fit:
            scores = torch.cat([self.statistic.score(batch).score for batch in batches])
            self.statistic.fit(Chosen(batches, trimmed(scores, self.contamination)))

    @torch.no_grad()
    def calibrate(self, predictions: Sequence[Scores], batches: Sequence[LensBatch]) -> None:
        """Keep the scores of ``batches``, sorted, less the share of ``contamination``.

        Raises:
            InputError: one of them is not a number.
        """
        scores = torch.cat([prediction.score for prediction in predictions]).float()
        if not scores.isfinite().all():
            raise InputError(f"{int((~scores.isfinite()).sum())} of {len(scores)} calibration images have no score")
        self.calibration = scores[trimmed(scores, self.contamination)].sort().values

    def remembered(self, prediction: Scores, batch: LensBatch) -> tuple[Scores, LensBatch]:
        """The scores, without maps and images."""
        score = prediction.score.clone()
        return Scores(score, score.new_empty(len(score), 0, 0)), LensBatch(images=batch.images.new_empty(0, 1, 1, 1))

    def threshold(self, false_alarms: float) -> float:
        """The score above which an image is an anomaly, so that at most this share of normal images is.

        Raises:
            InputError: a rate outside (0, 1), or too few calibration images for it, with how many are needed.
        """
        return threshold(self.calibration, false_alarms)

    @property
    def box_plot(self) -> float:
        """The threshold Q3 + 1.5 IQR of the calibration scores."""
        return box_plot(self.calibration)

    def frozen_parameters(self) -> Iterable[nn.Parameter]:
        """Those of the backbone, where the statistic leaves it as it is."""
        return self.backbone.parameters() if self.statistic.frozen else ()

    def train(self, mode: bool = True) -> Detect:
        """A backbone that stays as it is drops nothing and counts nothing either."""
        super().train(mode)
        if self.statistic.frozen:
            self.backbone.eval()
        return self

    def _watched(self, prediction: Any, batch: LensBatch) -> Mapping[str, Tensor]:
        return {"value": prediction.score, "p_value": prediction.p_value}


class Flagged(MeanMetric):
    """The share of images that are flagged at a false-alarm rate of 5 %."""

    def update(self, p_value: Tensor) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().update((p_value <= WATCHED).float())


class Chosen:
    """The images of ``batches`` for which ``kept`` (N,) is true, in the order in which they come."""

    def __init__(self, batches: Iterable[LensBatch], kept: Tensor):
        self.batches, self.kept = batches, kept

    def __iter__(self) -> Iterator[LensBatch]:
        start = 0
        for batch in self.batches:
            rows = self.kept[start : start + len(batch)]
            start += len(batch)
            if rows.any():
                yield batch[rows]


def _built(given: Any, backbone: Backbone) -> Statistic:
    """The statistic of a component, or of what stands for one in a run file."""
    try:
        chosen = TypeAdapter(component(STATISTICS, "reconstruction")).validate_python(given)
    except ValidationError as error:
        raise InputError(f"task.statistic: {error.errors()[0]['msg']}") from None
    return STATISTICS.get(chosen.name)(backbone, **chosen.options)

"""Parameters of lens and dark matter from an image, as a posterior, which says what the image cannot tell."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torchmetrics import ClasswiseWrapper, MeanAbsoluteError, MeanMetric, MeanSquaredError, Metric, R2Score

from arcformer.batch import LensBatch
from arcformer.data.symmetry import Turns, check_square, check_turns
from arcformer.errors import InputError, chosen
from arcformer.metrics import IntervalCoverage
from arcformer.models import Backbone, PoolHead
from arcformer.tasks.base import TASKS, Task, TaskMetrics
from arcformer.tasks.regress.heads import HEADS
from arcformer.tasks.regress.posterior import Posterior, even_normal
from arcformer.tasks.regress.spread import fit_spread, mixed
from arcformer.tasks.standard import Standard

__all__ = ["Regress"]

SAMPLES = 256
"""Of every posterior that ``predict`` gives."""


@TASKS.register("regress")
class Regress(Task):
    """Regression of any of the targets that a batch names, with a posterior of them together.

    Targets are standardised by what the first training images show (``prepare``). Posteriors, samples and densities are
    in the targets' own units.

    Args:
        backbone: whose last feature map is pooled.
        classes: names of the classes; they are not looked at.
        targets: names of the P parameters, among the ``target_names`` of the batches.
        head: ``flow``, a posterior of any shape; ``gaussian``, with all correlations; ``point``, a value by Huber's
            loss, and about it the scatter of validation images, alike for all. See ``heads``.
        views: ``one``, the image as it lies; ``dihedral``, in prediction the equal mixture of the posteriors of its
            eight turned and mirrored copies, each turned back. Positions, ellipticities and shears turn with the image.
        recalibrate: whether widths are multiplied by the factors that make validation images most likely.
        pool: ``mean`` or ``attention``.
        dropout: probability of dropping a component of the pooled vector in training.

    Raises:
        InputError: no target, one twice, an unknown head or view, targets that ``views`` cannot turn.
    """

    monitor: ClassVar[tuple[str, str]] = ("nll", "min")

    def __init__(
        self,
        backbone: Backbone,
        classes: Sequence[str],
        *,
        targets: tuple[str, ...] = (),
        head: Literal["point", "gaussian", "flow"] = "flow",
        views: Literal["one", "dihedral"] = "one",
        recalibrate: bool = True,
        pool: Literal["mean", "attention"] = "mean",
        dropout: float = 0.0,
    ):
        super().__init__(backbone, classes)
        self.targets, self.views, self.recalibrate = tuple(targets), views, recalibrate
        if not self.targets:
            raise InputError("regress: name what is to be estimated in targets")
        for name in self.targets:
            if self.targets.count(name) > 1:
                raise InputError(f"regress: target {name!r} is named twice in task.targets")
        chosen({"one": None, "dihedral": None}, views, "views")
        if views == "dihedral":
            check_turns(self.targets, "dihedral", "task.views", "one")
        self.standard = Standard(len(self.targets))
        self.head = chosen(HEADS, head, "head")(len(self.targets))
        self.pool = PoolHead(backbone.dim, self.head.inputs, pool=pool, dropout=dropout)

    def loss(self, batch: LensBatch) -> dict[str, Tensor]:
        """Of standardised targets: -log p in nats, or Huber's loss."""
        values = self.standard.scaled(self.truth_of(batch))
        return {"loss": self._exactly(self.head.loss, self._features(batch), values)}

    def predict(self, batch: LensBatch) -> Posterior:
        """The posterior of each image; its samples are made of the same noise for all images, at every call."""
        features = self._views(batch)
        return Posterior.of(self._samples(features, SAMPLES), features)

    def posterior(self, batch: LensBatch, samples: int = 10_000) -> Tensor:
        """Samples (B, S, P) of each posterior, in the targets' own units."""
        return self._samples(self._views(batch), samples)

    def log_prob(self, prediction: Posterior, values: Tensor) -> Tensor:
        """The log density (B,) of ``prediction`` at ``values`` (B, P), nats; both in the targets' own units."""
        found = self._exactly(partial(mixed, self.head), prediction.features, self._turned(values))
        return found - self.standard.log_volume()

    def table(self, prediction: Posterior) -> dict[str, list[Any]]:
        """Of each target its mean, ``NAME``, and ``NAME_std``, ``NAME_low`` and ``NAME_high``, the central 68 %."""
        told = {"": prediction.mean, "_std": prediction.std, "_low": prediction.low, "_high": prediction.high}
        return {
            f"{name}{end}": column[:, k].tolist() for k, name in enumerate(self.targets) for end, column in told.items()
        }

    def metrics(self) -> TaskMetrics:
        """``nll``, -log p in the targets' own units, nats; of each target ``mae``, ``rmse``, ``r2``, ``coverage_68``.

        They keep a few sums. What else posteriors are judged by is in ``metrics/posterior.py``.
        """
        count = len(self.targets)
        of_each: dict[str, Metric] = {
            "mae": MeanAbsoluteError(num_outputs=count),
            "rmse": MeanSquaredError(squared=False, num_outputs=count),
            "r2": R2Score(multioutput="raw_values" if count > 1 else "uniform_average"),
            "coverage_68": IntervalCoverage(),
        }
        return TaskMetrics({"nll": MeanMetric()} | self._named(of_each), self._watched)

    @torch.no_grad()
    def prepare(self, batches: Sequence[LensBatch]) -> None:
        """Take mean and standard deviation of the targets from training images.

        Raises:
            InputError: a target that some of them do not have, or that is the same for all.
        """
        values = self._known_of(batches)
        fixed = ~self.standard.fit(values)
        for name, value in zip(self.targets, values[0].tolist(), strict=True):
            if fixed[self.targets.index(name)]:
                raise InputError(
                    f"regress: {name} is {value:.6g} in all of {len(values)} training images, so that there is nothing "
                    "to learn; leave it out of task.targets"
                )

    @torch.no_grad()
    def calibrate(self, predictions: Sequence[Posterior], batches: Sequence[LensBatch]) -> None:
        """Fit the scatter of point estimates, and with ``recalibrate`` the factors of the widths, to ``batches``."""
        features = torch.cat([prediction.features for prediction in predictions])
        values = self._turned(self._known_of(batches).to(features.device))
        self.head.calibrate(features.flatten(0, 1), values.flatten(0, 1))
        if self.recalibrate:
            fit_spread(self.head, features, values)

    def truth_of(self, batch: LensBatch) -> Tensor:
        """The true values (B, P) of the targets, in the order of ``targets``; NaN where an image has none.

        Raises:
            InputError: the batch has other targets, or none.
        """
        if batch.targets is None or not batch.target_names:
            raise InputError("regress: these images have no targets; training and evaluation need them")
        for name in self.targets:
            if name not in batch.target_names:
                raise InputError(
                    f"regress: {name} was learned, and these images have {', '.join(batch.target_names)}; "
                    "give them the same targets in the same units"
                )
        return batch.targets[:, [batch.target_names.index(name) for name in self.targets]]

    def _known_of(self, batches: Sequence[LensBatch]) -> Tensor:
        """The true values (N, P) of the targets of all images.

        Raises:
            InputError: some have none, with their classes.
        """
        values = torch.cat([self.truth_of(batch) for batch in batches])
        for name, bad in zip(self.targets, ~values.isfinite().T, strict=True):
            if not bad.any():
                continue
            names = [name for batch in batches for name in _classes_of(batch)]
            without = {c for c, is_bad in zip(names, bad.tolist(), strict=True) if is_bad}
            lacking = [c for c in batches[0].classes if c in without]
            left = [c for c in batches[0].classes if c in names and c not in without]
            if not lacking:
                raise InputError(f"regress: {name} is not a number for {int(bad.sum())} of {len(values)} images")
            advice = f"set data.only = {json.dumps(left)}" if left else "leave it out of task.targets"
            raise InputError(f"regress: images of {', '.join(lacking)} have no {name}; {advice}")
        return values

    def _features(self, batch: LensBatch) -> Tensor:
        return self.pool(self.backbone.features(batch.images, batch.context)).float()

    def _views(self, batch: LensBatch) -> Tensor:
        """What the head sees of each view, (B, V, F)."""
        if self.views == "one":
            return self._features(batch)[:, None]
        check_square(batch.images)
        seen = (replace(batch, images=turns.planes(batch.images)) for turns in Turns.eight())
        return torch.stack([self._features(view) for view in seen], 1)

    def _turned(self, values: Tensor) -> Tensor:
        """Values (B, P) as the standardised ones (B, V, P) of each view."""
        if self.views == "one":
            return self.standard.scaled(values)[:, None]
        return self.standard.scaled(torch.stack([t.values(values, self.targets) for t in Turns.eight()], 1))

    def _samples(self, features: Tensor, count: int) -> Tensor:
        """Samples (B, S, P) in the targets' own units, as many of each view, the views in turn."""
        views = features.shape[1]
        each = -(-count // views)
        noise = even_normal(each * views, len(self.targets), features.device).split(each)
        found = []
        for k, turns in enumerate(Turns.eight() if views > 1 else [None]):
            drawn = self._exactly(self.head.sample, features[:, k], noise[k])
            physical = self.standard.physical(drawn)
            found.append(physical if turns is None else turns.inverse.values(physical, self.targets))
        return torch.stack(found, 2).flatten(1, 2)[:, :count]

    def _exactly(self, function: Callable[[Tensor, Tensor], Tensor], features: Tensor, other: Tensor) -> Tensor:
        """``function`` of features in float32, whatever the precision of the network, and of something else."""
        with torch.autocast(features.device.type, enabled=False):
            return function(features.float(), other)

    def _named(self, metrics: dict[str, Metric]) -> dict[str, Metric]:
        """Metrics of every target by ``METRIC/TARGET``."""
        if len(self.targets) == 1:
            return {f"{name}/{self.targets[0]}": metric for name, metric in metrics.items()}
        named = list(self.targets)
        return {name: ClasswiseWrapper(metric, named, prefix=f"{name}/") for name, metric in metrics.items()}

    def _watched(self, prediction: Posterior, batch: LensBatch) -> dict[str, Tensor | None]:
        values = self._known_of([batch])
        zero = self.standard.mean  # sums of squares of numbers far from zero would be inexact
        return {
            "value": -self.log_prob(prediction, values),
            "preds": prediction.mean - zero,
            "target": values - zero,
            "low": prediction.low - zero,
            "high": prediction.high - zero,
        }


def _classes_of(batch: LensBatch) -> list[str]:
    """The class of each image by name; empty names where it is not known."""
    if batch.labels is None or not batch.classes:
        return [""] * len(batch)
    return [batch.classes[label] for label in batch.labels.tolist()]

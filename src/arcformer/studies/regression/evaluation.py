"""Posteriors of targets, compared with the truth."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.data.arrays import AXION_MASS
from arcformer.errors import InputError, near
from arcformer.metrics import Estimate, Flatness, Tarp, flatness, ranks, tarp
from arcformer.metrics.intervals import WeightedMetrics
from arcformer.sim.parameters import drawn_as, is_logarithm, unit_of
from arcformer.sim.substructure import HALF_LENGTH
from arcformer.studies.evaluation import Evaluation, Gathering, as_json
from arcformer.studies.floor import MassFloor, mass_floor
from arcformer.studies.leaks import FEATURES, trivial_features
from arcformer.studies.regression import figures, sentences
from arcformer.studies.regression.baseline import Baseline, compared, models_of
from arcformer.studies.regression.measures import (
    PERCENT,
    RANGES,
    alone,
    bands,
    errors,
    held,
    likelihood,
    relative_errors,
)
from arcformer.studies.style import png_uri, svg_uri
from arcformer.tasks import Estimator

if TYPE_CHECKING:
    from arcformer.training import Run
    from arcformer.training.recipe import DataSection

__all__ = ["MASS", "PosteriorEvaluation", "PosteriorGathering"]

MASS = AXION_MASS
"""The target of which the floor is known."""

WITHOUT_UNIT = ("r2_", "coverage_", "sbc_p_", "over_floor_", "relative_error_")
"""How the names of numbers of a target begin that are not in its unit."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PosteriorEvaluation(Evaluation):
    """A run's result on N images: posteriors of P targets.

    Attributes:
        targets: names of the targets, with their units.
        truth: (N, P).
        mean, low, high: (N, P), of the posteriors; the ends of the central 68 %.
        samples: (N, S, P) float32, of the posteriors.
        ranks: (N, P), how many of the samples lie below the truth.
        flat: whether these are flat.
        together: TARP, of all targets.
        found: every number, by name.
        bins: of each target, rows of errors in bins of its true value.
        baseline: what models without a network say of the same images; None without the training images.
        no_baseline: why there is none.
        floor: what can be known of the axion's mass, where that is a target and the preset is simulated with noise.
    """

    targets: tuple[str, ...]
    truth: Array
    mean: Array
    low: Array
    high: Array
    samples: NDArray[np.float32]
    ranks: Array
    flat: Flatness
    together: Tarp
    found: dict[str, Estimate]
    bins: dict[str, list[dict[str, Any]]]
    baseline: Baseline | None
    no_baseline: str
    floor: MassFloor | None

    part: ClassVar[str] = "regression/part.html.jinja"
    columns: ClassVar[tuple[str, ...]] = ("mae_*", "below_linear_mae_*", "coverage_68_*", "nll")
    important: ClassVar[tuple[str, ...]] = ("mae_*",)
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = RANGES

    @property
    def estimates(self) -> dict[str, Estimate]:
        return self.found

    @property
    def headlines(self) -> dict[str, str]:
        words = {f"mae_{name}": f"mean absolute error of {name}{_in(name)}" for name in self.targets}
        words |= {f"coverage_68_{name}": f"truth within the central 68 % of {name}" for name in self.targets}
        return words | {
            "nll": "negative log density at the truth, nats",
            "tarp_deviation": "greatest deviation in TARP",
        }

    @property
    def of_each(self) -> dict[str, NDArray[Any]]:
        off = np.abs(self.mean - self.truth)
        return {name: off[:, k] for k, name in enumerate(self.targets)}

    @classmethod
    def weighed(cls, of_each: Mapping[str, NDArray[Any]]) -> WeightedMetrics:
        return lambda weights: {f"mae_{name}": weights @ off / weights.sum(1) for name, off in of_each.items()}

    def unit(self, name: str) -> str:
        if name.startswith(WITHOUT_UNIT):
            return ""
        return next((unit_of(target) for target in self.targets if name.endswith(f"_{target}")), "")

    def summary(self) -> str:
        return sentences.summary(self)

    def agreement(self, first: PosteriorEvaluation) -> str:
        return sentences.agreement(first, self)

    @property
    def against_length(self) -> list[dict[str, Any]]:
        """Errors of the axion's mass in bins of the vortex's half-length, arcsec; none without that target."""
        if MASS not in self.targets:
            return []
        k = self.targets.index(MASS)
        length = HALF_LENGTH / 10 ** self.truth[:, k]
        rows = bands(self.mean[:, k] - self.truth[:, k], (self.high - self.low)[:, k] / 2, length, self.seed)
        if self.floor is None:
            return rows
        grid = self.floor.half_length
        for row in rows:
            inside = (length >= row["low"]) & (length <= row["high"])
            for what in ("sigma", "error"):
                row[f"floor_{what}"] = float(np.interp(length[inside], grid, getattr(self.floor, what)).mean())
        return rows

    @property
    def tables(self) -> dict[str, list[dict[str, Any]]]:
        named = {f"bins_{name}": rows for name, rows in self.bins.items()}
        if MASS in self.targets:
            named[f"half_length_{MASS}"] = self.against_length
        return {name: [_plain(row) for row in rows] for name, rows in named.items()}

    def drawn(self) -> dict[str, Any]:
        return {
            "levels": list(PERCENT),
            "bins": len(self.flat.expected),
            "features": FEATURES,
            "units": {name: unit_of(name) for name in self.targets},
            "predicted": svg_uri(figures.predicted(self)),
            "coverage": svg_uri(figures.coverage(self)),
            "ranks": svg_uri(figures.ranks(self)),
            "corner": png_uri(figures.corner_plot(self)),
            "lengths": svg_uri(figures.against_length(self)) if MASS in self.targets else None,
            "against_length": self.against_length,
            "verdict": sentences.baseline(self),
            "calibration": sentences.calibration(self),
        }


class PosteriorGathering(Gathering):
    """Gathers posteriors and the truth; for the baseline, trivial features of what the network sees."""

    evaluation: ClassVar[type[Evaluation]] = PosteriorEvaluation
    fields: ClassVar[tuple[str, ...]] = ("mean", "std", "low", "high", "samples")

    def __init__(self, run: Run, name: str, seed: int):
        super().__init__(run, name, seed)
        if not isinstance(run.task, Estimator):
            raise InputError(f"{type(run.task).__name__} predicts samples, and lacks targets, posterior or log_prob")
        self.task, self.targets = run.task, run.task.targets
        self.kept: dict[str, list[Tensor]] = {}

    def check(self, batch: LensBatch) -> None:
        _truth(batch, self.targets, f"evaluation {self.name!r}")

    def take(self, prediction: Any, batch: LensBatch, seen: LensBatch) -> None:
        truth = _truth(batch, self.targets, f"evaluation {self.name!r}").to(seen.images.device)
        found = {name: getattr(prediction, name) for name in ("mean", "low", "high", "samples")}
        found |= {
            "truth": truth,
            "log_density": self.task.log_prob(prediction, truth),
            "features": trivial_features(self.run.transform.inverse(seen)),
        }
        for name, tensor in found.items():
            self.kept.setdefault(name, []).append(tensor.detach().cpu())

    def conclude(self, **common: Any) -> PosteriorEvaluation:
        kept = {name: torch.cat(tensors) for name, tensors in self.kept.items()}
        features, samples = kept.pop("features"), kept.pop("samples").float().numpy()
        of = {name: tensor.double().numpy() for name, tensor in kept.items()}
        truth, mean, low, high = of["truth"], of["mean"], of["low"], of["high"]
        names, seed, off, width = list(self.targets), self.seed, mean - truth, (high - low) / 2
        count, ranked, together = samples.shape[1], ranks(samples, truth), tarp(samples, truth, seed=seed)
        flat = flatness(ranked, count)
        found = errors(mean, np.median(samples, axis=1).astype(np.float64), width, truth, names, seed)
        found |= relative_errors(mean, truth, names, seed)
        found |= likelihood(of["log_density"], together, seed) | held(ranked, count, flat, names)
        baseline, reason = self._baseline(features)
        if baseline is not None:
            found |= compared(mean, baseline, truth, names, seed)
        data: Any = self.run.config.data
        floor = _floor(data) if MASS in self.targets else None
        if floor is not None:
            mae = found[f"mae_{MASS}"]
            found[f"floor_mae_{MASS}"] = alone(floor.mae)
            found[f"over_floor_mae_{MASS}"] = Estimate(*(end / floor.mae for end in (mae.value, mae.low, mae.high)))
        return PosteriorEvaluation(
            **common,
            targets=self.targets,
            truth=truth,
            mean=mean,
            low=low,
            high=high,
            samples=samples,
            ranks=ranked,
            flat=flat,
            together=together,
            found=found,
            bins={name: bands(off[:, k], width[:, k], truth[:, k], seed) for k, name in enumerate(names)},
            baseline=baseline,
            no_baseline=reason,
            floor=floor,
        )

    def _baseline(self, features: Tensor) -> tuple[Baseline | None, str]:
        """What models without a network say; or why they cannot be fitted."""

        def targets_of(batch: LensBatch) -> Tensor:
            return _truth(batch, self.targets, "the training images")

        try:
            return models_of(self.run, targets_of, seed=self.seed).predict(features), ""
        except InputError as error:
            return None, str(error)


@functools.lru_cache(maxsize=8)
def _floor(data: DataSection) -> MassFloor | None:
    """What can be known of the axion's mass in images like those of the run, of which only the preset varies."""
    if data.folder is not None:
        return None
    try:
        return mass_floor(data.simulated)
    except InputError:  # without noise all can be known, and without vortices nothing
        return None


def _truth(batch: LensBatch, targets: Sequence[str], what: str) -> Tensor:
    """The values (B, P) of the targets of a run, in its own units.

    Raises:
        InputError: a target that the images lack, or have in another unit, or that is not a number for one of them.
    """
    for name in targets:
        if name in batch.target_names:
            continue
        other = drawn_as(name) if is_logarithm(name) else f"log10_{name}"
        if other in batch.target_names:
            raise InputError(
                f"{what}: the images have {other}, and the run predicts {name}: convert it, and name it so"
            )
        known = near(name, batch.target_names) if batch.target_names else "they have no targets at all"
        raise InputError(f"{what}: the images do not have {name}, which the run predicts; {known}")
    assert batch.targets is not None
    values = batch.targets[:, [batch.target_names.index(name) for name in targets]]
    missing = (~values.isfinite()).nonzero()
    if len(missing):
        row, column = missing[0].tolist()
        image = batch.ids[row] if batch.ids else f"image {row}"
        kind = (
            f", of class {batch.classes[int(batch.labels[row])]}" if batch.labels is not None and batch.classes else ""
        )
        raise InputError(
            f"{what}: {image}{kind} has no {targets[column]} (it is not a number); test on images that have it, "
            "as by data.only"
        )
    return values


def _in(name: str) -> str:
    unit = unit_of(name)
    return f", {unit}" if unit else ""


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: as_json(value) if isinstance(value, Estimate) else value for name, value in row.items()}

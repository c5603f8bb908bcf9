"""Probabilities of classes, compared with labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.metrics import ClassificationReport, Estimate, bootstrap, classification_report
from arcformer.metrics.classification import weighted_auc
from arcformer.metrics.intervals import WeightedMetrics
from arcformer.studies.classification import figures, sentences
from arcformer.studies.comparison import auc_difference
from arcformer.studies.evaluation import Evaluation, Gathering
from arcformer.studies.leaks import FEATURES, LeakAudit, audit, trivial_features
from arcformer.studies.style import colours, svg_uri

__all__ = ["ClassEvaluation", "ClassGathering"]

HEADLINES = {
    "auroc": "AUC, macro one-vs-rest",
    "leak_auroc": "AUC of trivial features, logistic regression",
    "leak_auroc_boosted": "AUC of trivial features, boosted trees",
    "auroc_above_leak": "AUC above logistic regression, same images",
    "accuracy": "accuracy",
    "ece": "expected calibration error",
    "nll": "negative log likelihood, nats",
}

PROPORTION = (0.0, 1.0)


@dataclass(frozen=True)
class ClassEvaluation(Evaluation):
    """A run's result on N images of K classes.

    Attributes:
        classes: names of the classes, in the order of the labels.
        labels: (N,), index into ``classes``.
        probabilities: (N, K).
        report: AUC, accuracy, calibration, and each class against the rest.
        f1: of each class, bootstrap intervals.
        leaks: what trivial features reach on the same images; None where a class has fewer than two.
        above_leaks: macro AUC minus that of the linear leak audit, images drawn in pairs; None without an audit.
    """

    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    report: ClassificationReport
    f1: dict[str, Estimate]
    leaks: LeakAudit | None
    above_leaks: Estimate | None

    part: ClassVar[str] = "classification/part.html.jinja"
    columns: ClassVar[tuple[str, ...]] = ("auroc", "accuracy", "auroc_above_leak")
    important: ClassVar[tuple[str, ...]] = ("auroc", "auroc_above_leak")
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {"auroc_above_leak": (-1.0, 1.0)} | dict.fromkeys(
        ("accuracy*", "auroc*", "ece*", "f1*", "leak_auroc*", "precision*", "recall*"), PROPORTION
    )

    @property
    def estimates(self) -> dict[str, Estimate]:
        report = self.report
        named = {"auroc": report.auc, "accuracy": report.accuracy, "ece": report.ece, "nll": report.nll}
        if self.leaks is not None and self.above_leaks is not None:
            named |= {"leak_auroc": self.leaks.linear, "leak_auroc_boosted": self.leaks.boosted}
            named |= {f"leak_auroc_{name}": found for name, found in self.leaks.per_class.items()}
            named |= {f"leak_auroc_{a}_{b}": found for (a, b), found in self.leaks.pairs.items()}
            named["auroc_above_leak"] = self.above_leaks
        for name, found in report.classes.items():
            named |= {f"auroc_{name}": found.auc, f"precision_{name}": found.precision, f"recall_{name}": found.recall}
            named[f"f1_{name}"] = self.f1[name]
        return named

    @property
    def headlines(self) -> dict[str, str]:
        return HEADLINES

    @property
    def of_each(self) -> dict[str, NDArray[Any]]:
        return {"labels": self.labels, "probabilities": self.probabilities}

    @classmethod
    def weighed(cls, of_each: Mapping[str, NDArray[Any]]) -> WeightedMetrics:
        labels, probabilities = of_each["labels"], of_each["probabilities"]
        right = (probabilities.argmax(1) == labels).astype(float)

        def metrics(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
            areas = [weighted_auc(p, labels == k, weights) for k, p in enumerate(probabilities.T)]
            return {"auroc": np.mean(areas, axis=0), "accuracy": weights @ right / weights.sum(1)}

        return metrics

    def summary(self) -> str:
        return sentences.summary(self)

    def agreement(self, first: ClassEvaluation) -> str:
        return sentences.agreement(first, self)

    def drawn(self) -> dict[str, Any]:
        counts = np.bincount(self.labels, minlength=len(self.classes)).tolist()
        return {
            "roc": svg_uri(figures.roc(self)),
            "confusion": svg_uri(figures.confusion(self)),
            "reliability": svg_uri(figures.reliability(self)),
            "counts": dict(zip(self.classes, counts, strict=True)),
            "leaks": sentences.leaks(self),
            "calibration": sentences.calibration(self),
            "colours": colours(self.classes),
            "features": FEATURES,
        }


class ClassGathering(Gathering):
    """Gathers probabilities, labels and trivial features.

    The leak audit sees the pixels that the network sees, cropped and binned by the transform, in physical units.
    """

    evaluation: ClassVar[type[Evaluation]] = ClassEvaluation
    fields: ClassVar[tuple[str, ...]] = ("probabilities",)

    def __init__(self, run: Any, name: str, seed: int):
        super().__init__(run, name, seed)
        self.labels, self.probabilities, self.features = [], [], []

    def check(self, batch: LensBatch) -> None:
        if batch.labels is None:
            raise InputError(
                f"evaluation {self.name!r}: the images have no labels; to classify unknown ones, use predict"
            )
        if tuple(batch.classes) != tuple(self.run.classes):
            raise InputError(
                f"evaluation {self.name!r}: the images are of classes {', '.join(batch.classes)}, in this order; "
                f"the run knows {', '.join(self.run.classes)}"
            )

    def take(self, prediction: Any, batch: LensBatch, seen: LensBatch) -> None:
        assert batch.labels is not None
        self.probabilities.append(prediction.probabilities.cpu().double())
        self.labels.append(batch.labels.cpu())
        self.features.append(trivial_features(self.run.transform.inverse(seen)).cpu())

    def conclude(self, **common: Any) -> ClassEvaluation:
        classes, seed = self.run.classes, self.seed
        y, p = torch.cat(self.labels).numpy(), torch.cat(self.probabilities).numpy()
        counts = np.bincount(y, minlength=len(classes))
        audited = counts.min() >= 2
        leaks = audit(torch.cat(self.features), torch.cat(self.labels), classes, seed=seed) if audited else None
        return ClassEvaluation(
            **common,
            classes=classes,
            labels=y,
            probabilities=p,
            report=classification_report(p, y, classes, seed=seed),
            f1=_f1(p, y, classes, seed),
            leaks=leaks,
            above_leaks=None if leaks is None else auc_difference(p, leaks.probabilities, y, seed=seed),
        )


def _f1(p: NDArray[np.float64], y: NDArray[np.int64], classes: tuple[str, ...], seed: int) -> dict[str, Estimate]:
    """Harmonic mean of precision and recall, for each class; NaN where a class was neither there nor predicted."""
    guess = p.argmax(1)

    def metrics(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        found = {}
        for k, name in enumerate(classes):
            both, either = weights @ ((guess == k) & (y == k)), weights @ ((guess == k).astype(float) + (y == k))
            found[name] = np.divide(2 * both, either, out=np.full_like(both, np.nan), where=either > 0)
        return found

    return bootstrap(metrics, len(y), seed=seed)

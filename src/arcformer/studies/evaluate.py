"""Evaluation: a run on a finite set of images that nothing was chosen on."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.data.source import BatchSource
from arcformer.errors import InputError
from arcformer.metrics import ClassificationReport, Estimate, bootstrap, classification_report
from arcformer.progress import track, working
from arcformer.studies.comparison import auc_difference
from arcformer.studies.leaks import LeakAudit, audit, trivial_features

if TYPE_CHECKING:
    from arcformer.training import Run

__all__ = ["Evaluation", "as_json", "evaluate"]

PICTURED = 6
"""Images of each class that are kept for the report."""


@dataclass(frozen=True)
class Evaluation:
    """A run's result on N images of K classes.

    Attributes:
        name: short, as ``test`` or ``reference``; begins the names of its numbers.
        about: what the images are, in words: how many, from where, which seed.
        classes: names of the classes, in the order of the labels.
        labels: (N,), index into ``classes``.
        probabilities: (N, K).
        ids: N names, or none.
        report: AUC, accuracy, calibration, and each class against the rest.
        f1: of each class, bootstrap intervals.
        leaks: what trivial features reach on the same images; None where a class has fewer than two.
        above_leaks: macro AUC minus that of the linear leak audit, images drawn in pairs; None without an audit.
        pictured: a few images of each class in physical units, the first of the set.
        seconds: for transform and prediction, without the time to read or simulate the images.
        seed: of the intervals and of the leak audit.
    """

    name: str
    about: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    ids: tuple[str, ...]
    report: ClassificationReport
    f1: dict[str, Estimate]
    leaks: LeakAudit | None
    above_leaks: Estimate | None
    pictured: LensBatch
    seconds: float
    seed: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images_per_second(self) -> float:
        return len(self) / max(self.seconds, 1e-9)

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Every number of the result, by name, each with its 95 % interval."""
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

    def to_json(self) -> list[dict[str, Any]]:
        """The numbers as flat rows: name, value, unit, low, high."""
        rows = [{"name": f"{name} {self.name}", "unit": "", **as_json(e)} for name, e in self.estimates.items()]
        speed = {"name": f"images_per_second {self.name}", "value": self.images_per_second, "unit": "images/s"}
        return [*rows, speed]


@torch.no_grad()
def evaluate(
    run: Run, images: BatchSource | Iterable[LensBatch], *, name: str, about: str = "", seed: int = 0
) -> Evaluation:
    """Predict the classes of labelled images, on the device where the weights of ``run.task`` lie.

    Nothing is chosen here: temperature and transform are those of the run. The leak audit sees the pixels that the
    network sees, cropped and binned by the transform, in physical units.

    Args:
        run: as ``arcformer.load`` gives it.
        images: a source of finite length, or batches in physical units.
        name, about: see ``Evaluation``; without ``about`` only the number of images is told.
        seed: of the intervals and of the leak audit.

    Raises:
        InputError: a source without end or without images, images without labels, or classes that are not the run's.
    """
    device = next(run.task.parameters()).device
    labels, probabilities, features, pictured, ids = [], [], [], [], []
    seconds, wanted = 0.0, dict.fromkeys(range(len(run.classes)), PICTURED)
    total = images.batches if isinstance(images, BatchSource) else None
    for batch in track(_batches(images), f"evaluating {name}", total, size=len):
        _check(batch, run, name)
        assert batch.labels is not None
        start = time.perf_counter()
        seen = run.transform(batch.to(device))
        probabilities.append(_probabilities(run, seen).cpu().double())
        seconds += time.perf_counter() - start
        labels.append(batch.labels.cpu())
        features.append(trivial_features(run.transform.inverse(seen)).cpu())
        ids += batch.ids
        pictured += _first_of_each(batch.to("cpu"), wanted)
    if not labels:
        raise InputError(f"evaluation {name!r}: there are no images")
    y, p = torch.cat(labels).numpy(), torch.cat(probabilities).numpy()
    counts = np.bincount(y, minlength=len(run.classes))
    with working(f"auditing {name}"):
        leaks = audit(torch.cat(features), torch.cat(labels), run.classes, seed=seed) if counts.min() >= 2 else None
        return Evaluation(
            name=name,
            about=about or f"{len(y):,} images",
            classes=run.classes,
            labels=y,
            probabilities=p,
            ids=tuple(ids) if len(ids) == len(y) else (),
            report=classification_report(p, y, run.classes, seed=seed),
            f1=_f1(p, y, run.classes, seed),
            leaks=leaks,
            above_leaks=None if leaks is None else auc_difference(p, leaks.probabilities, y, seed=seed),
            pictured=LensBatch.collate(pictured),
            seconds=seconds,
            seed=seed,
        )


def as_json(estimate: Estimate) -> dict[str, float | None]:
    """``value``, ``low`` and ``high`` as JSON has them: None where one is not a number."""
    return {name: None if math.isnan(end) else end for name, end in asdict(estimate).items()}


def _batches(images: BatchSource | Iterable[LensBatch]) -> Iterator[LensBatch]:
    if not isinstance(images, BatchSource):
        yield from images
        return
    if images.batches is None:
        raise InputError("an evaluation needs an end, and this source has none: give it a count of images")
    for k in range(images.batches):
        yield images.batch(k)


def _check(batch: LensBatch, run: Run, name: str) -> None:
    if batch.labels is None:
        raise InputError(f"evaluation {name!r}: the images have no labels; to classify unknown ones, use predict")
    if tuple(batch.classes) != tuple(run.classes):
        raise InputError(
            f"evaluation {name!r}: the images are of classes {', '.join(batch.classes)}, in this order; "
            f"the run knows {', '.join(run.classes)}"
        )


def _probabilities(run: Run, seen: LensBatch) -> Tensor:
    prediction = run.task.predict(seen)
    found = getattr(prediction, "probabilities", None)
    if not isinstance(found, Tensor):
        raise InputError(f"{type(run.task).__name__} predicts no probabilities of classes, which an evaluation needs")
    return found


def _first_of_each(batch: LensBatch, wanted: dict[int, int]) -> list[LensBatch]:
    """The images that are still wanted for the picture, without what a picture does not need; counts them off."""
    rows = []
    for row, label in enumerate(batch.labels.tolist() if batch.labels is not None else ()):
        if wanted[label]:
            wanted[label] -= 1
            rows.append(row)
    kept = batch[rows]
    return (
        [LensBatch(kept.images.clone(), kept.labels, kept.classes, pixel_scale=kept.pixel_scale, unit=kept.unit)]
        if rows
        else []
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

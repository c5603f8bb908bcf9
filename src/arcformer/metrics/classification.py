"""How well probabilities of classes fit labels: AUC, accuracy, precision, recall, calibration, each with an interval.

N images, K classes, R resamples of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from arcformer.errors import InputError
from arcformer.metrics.intervals import Estimate, bootstrap, wilson

__all__ = ["BINS", "ClassReport", "ClassificationReport", "classification_report", "weighted_auc"]

BINS = 15
"""Equal bins of the highest probability in which the calibration error compares confidence with accuracy."""


@dataclass(frozen=True)
class ClassReport:
    """One class against the rest. ``support`` is how many images are of it."""

    auc: Estimate
    precision: Estimate
    recall: Estimate
    support: int


@dataclass(frozen=True)
class ClassificationReport:
    """A classification result; ``dataclasses.asdict`` makes JSON of it.

    Attributes:
        auc: macro average of the one-vs-rest areas under the ROC curve; NaN where a class has no image.
        accuracy: share of images whose most probable class is right, Wilson interval.
        ece: expected calibration error, l1 over ``BINS`` bins (Guo et al. 2017, eq. 3).
        nll: mean negative log likelihood, nats.
        classes: each class by name; Wilson intervals for precision and recall.
        images: N.
    """

    auc: Estimate
    accuracy: Estimate
    ece: Estimate
    nll: Estimate
    classes: dict[str, ClassReport]
    images: int


def classification_report(
    probabilities: ArrayLike | torch.Tensor,
    labels: ArrayLike | torch.Tensor,
    classes: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> ClassificationReport:
    """Compare ``probabilities`` (N, K) with ``labels`` (N,), indices into ``classes``.

    Intervals are of 95 %, over the images given: they do not know of other training seeds.

    Raises:
        InputError: where shapes, labels or probabilities do not fit.
    """
    p, y = _checked(probabilities, labels, classes)
    guess = p.argmax(1)
    right = guess == y
    log_likelihood = np.log(np.maximum(p[np.arange(len(y)), y], np.finfo(np.float32).tiny))
    in_bin = np.minimum((p.max(1) * BINS).astype(int), BINS - 1)[:, None] == np.arange(BINS)
    excess = in_bin * (p.max(1) - right)[:, None]  # (N, BINS): confidence minus accuracy

    def metrics(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        aucs = {f"auc {name}": weighted_auc(p[:, k], y == k, weights) for k, name in enumerate(classes)}
        total = weights.sum(1)
        return aucs | {
            "auc": np.mean(list(aucs.values()), axis=0),
            "ece": np.abs(weights @ excess).sum(1) / total,
            "nll": -(weights @ log_likelihood) / total,
        }

    found = bootstrap(metrics, len(y), seed=seed, resamples=resamples)
    per_class = {
        name: ClassReport(
            auc=found[f"auc {name}"],
            precision=wilson(int(right[guess == k].sum()), int((guess == k).sum())),
            recall=wilson(int(right[y == k].sum()), int((y == k).sum())),
            support=int((y == k).sum()),
        )
        for k, name in enumerate(classes)
    }
    accuracy = wilson(int(right.sum()), len(y))
    return ClassificationReport(found["auc"], accuracy, found["ece"], found["nll"], per_class, len(y))


def weighted_auc(scores: NDArray, positive: NDArray[np.bool_], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area under the ROC curve of ``scores`` (N,) for each row of ``weights`` (R, N), as (R,).

    The probability that a positive scores above a negative, ties counting half (Mann and Whitney 1947). NaN for a row
    without positives or without negatives.
    """
    order = np.argsort(scores, kind="stable")
    weights, positive = weights[:, order], positive[order]
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)  # of each group of equal scores
    above = np.add.reduceat(weights * positive, starts, axis=1)
    below = np.add.reduceat(weights * ~positive, starts, axis=1)
    pairs = (above * (below.cumsum(1) - below / 2)).sum(1)
    possible = above.sum(1) * below.sum(1)
    return np.divide(pairs, possible, out=np.full_like(pairs, np.nan), where=possible > 0)


def _checked(
    probabilities: ArrayLike | torch.Tensor, labels: ArrayLike | torch.Tensor, classes: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    p, y = _array(probabilities).astype(np.float64), _array(labels)
    if p.ndim != 2 or p.shape[1] != len(classes) or y.shape != p.shape[:1] or len(y) == 0:
        raise InputError(
            f"probabilities {p.shape} and labels {y.shape} do not fit; expected (N, {len(classes)}) and (N,), N > 0"
        )
    if not np.isfinite(p).all() or not np.allclose(p.sum(1), 1, atol=1e-3):
        raise InputError("probabilities must be finite and add up to one for each image; were these logits?")
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0 or y.max() >= len(classes):
        raise InputError(f"labels must be integers from 0 to {len(classes) - 1}, got {y.dtype} {y.min()} to {y.max()}")
    return p, y.astype(np.int64)


def _array(values: ArrayLike | torch.Tensor) -> NDArray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)

"""How well scores of anomaly find what is anomalous, and whether thresholds on them keep their word.

N images, each with a score, the higher the less like the normal ones; R resamples of the bootstrap, T rates of false
alarms. A recall at a rate is what a threshold finds that no greater share of the normal images exceeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from arcformer.errors import InputError
from arcformer.metrics.classification import weighted_auc
from arcformer.metrics.intervals import Estimate, WeightedMetrics, bootstrap, clopper_pearson

__all__ = [
    "FALSE_ALARMS",
    "adjusted",
    "detection_report",
    "false_alarms",
    "false_discoveries",
    "percent",
    "score_at",
    "spread_of_false_alarms",
    "uniformity",
    "weighted_average_precision",
    "weighted_detection",
    "weighted_recalls",
]

FALSE_ALARMS = (0.01, 0.05)
"""Rates of false alarms at which recall is told."""

Array = NDArray[np.float64]


def percent(rate: float) -> str:
    """``1`` of 0.01, ``0.5`` of 0.005: how a rate stands in the names of numbers."""
    return f"{100 * rate:g}"


def detection_report(
    scores: ArrayLike, anomalous: ArrayLike, *, rates: Sequence[float] = FALSE_ALARMS, seed: int = 0
) -> dict[str, Estimate]:
    """``auroc``, ``ap`` (average precision) and ``recall_1``, ``recall_5`` with bootstrap intervals over images.

    The average precision depends on how many of the images are anomalous, the others do not.

    Args:
        scores: (N,).
        anomalous: (N,), whether an image is.
        rates: of false alarms, at which recall is measured.
        seed: of the bootstrap.

    Raises:
        InputError: shapes that do not fit, or scores that are not numbers.
    """
    s, y = _checked(scores, anomalous)
    return bootstrap(weighted_detection(s, y, rates), len(s), seed=seed)


def weighted_detection(scores: Array, anomalous: NDArray[np.bool_], rates: Sequence[float]) -> WeightedMetrics:
    """The numbers of ``detection_report`` as functions of weights (R, N), for ``bootstrap``."""

    def metrics(weights: Array) -> dict[str, Array]:
        recalls = weighted_recalls(scores, anomalous, weights, rates)
        return {
            "auroc": weighted_auc(scores, anomalous, weights),
            "ap": weighted_average_precision(scores, anomalous, weights),
        } | {f"recall_{percent(rate)}": found for rate, found in zip(rates, recalls, strict=True)}

    return metrics


def weighted_average_precision(scores: Array, positive: NDArray[np.bool_], weights: Array) -> Array:
    """Mean of the precision over the recalls that thresholds reach, for each row of ``weights`` (R, N), as (R,).

    As scikit-learn's ``average_precision_score``; NaN for a row without positives.
    """
    found, false = _above(scores, positive, weights)
    total = found[:, -1:]
    taken = found + false
    precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
    gains = np.diff(found, axis=1, prepend=0)
    return np.divide((gains * precision).sum(1), total[:, 0], out=np.full(len(weights), np.nan), where=total[:, 0] > 0)


def weighted_recalls(
    scores: Array, positive: NDArray[np.bool_], weights: Array, rates: Sequence[float]
) -> tuple[Array, ...]:
    """Share of the positives above the lowest threshold that no more than a rate of negatives exceeds, (R,) each.

    Nothing is interpolated between the steps of the curve. NaN for a row without positives or without negatives.
    """
    found, false = _above(scores, positive, weights)
    possible = (found[:, -1] > 0) & (false[:, -1] > 0)
    recalls = []
    for rate in rates:
        within = false <= rate * false[:, -1:] * (1 + 1e-12)
        best = np.where(within, found, 0.0).max(1)
        recalls.append(np.divide(best, found[:, -1], out=np.full(len(weights), np.nan), where=possible))
    return tuple(recalls)


def score_at(normal: ArrayLike, rate: float) -> float:
    """The threshold of a recall: a greater score than this have no more than a share ``rate`` of ``normal`` (N,)."""
    ordered = np.sort(np.asarray(normal, dtype=np.float64))[::-1]
    allowed = math.floor(rate * len(ordered) * (1 + 1e-12))
    return -math.inf if allowed >= len(ordered) else float(ordered[allowed])


def adjusted(p_values: ArrayLike) -> Array:
    """p-values (N,) of a catalogue, adjusted by Benjamini and Hochberg (1995): those below q are discoveries at q.

    Of these, a share of q is false on average. That holds for p-values from one and the same calibration set, too
    (Bates et al. 2023, theorem 2).

    Raises:
        InputError: none, or numbers that are no probabilities.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not len(p) or not ((p >= 0) & (p <= 1)).all():
        raise InputError(f"p-values {p.shape}: expected numbers between 0 and 1, one an image, and at least one")
    return np.asarray(stats.false_discovery_control(p))


def false_alarms(p_values: ArrayLike, rate: float) -> Estimate:
    """The share of normal images with p <= ``rate``, with its exact binomial interval."""
    p = np.asarray(p_values)
    return clopper_pearson(int((p <= rate).sum()), len(p))


def spread_of_false_alarms(rate: float, calibration: int, images: int, *, level: float = 0.95) -> tuple[float, float]:
    """Between which ends the share of false alarms among normal images lies, for a rate that is asked of conformal p.

    Its scatter is that of the images and that of the calibration scores, of which there are few: beta-binomial (Vovk
    2012, Proc. ACML 25, 475).

    Args:
        rate: asked for.
        calibration: how many scores there are; at least 1 / rate - 1.
        images: of the test.
    """
    exceeded = math.floor(rate * (calibration + 1) * (1 + 1e-12))
    if exceeded < 1:
        return 0.0, 0.0
    ends = stats.betabinom(images, exceeded, calibration + 1 - exceeded).ppf([(1 - level) / 2, (1 + level) / 2])
    return float(ends[0]) / images, float(ends[1]) / images


def uniformity(p_values: ArrayLike, calibration: int | None = None) -> float:
    """Probability of p-values of normal images that are as far from uniform, by Kolmogorov and Smirnov.

    Conformal ones are as uniform as ``calibration``, the number of their calibration scores, allows: they are those
    scores compared with others, and that is a test of two samples. None: the p-values are exact.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not len(p):
        return math.nan
    if calibration is None:
        return float(stats.kstest(p, "uniform").pvalue)
    ranks = np.rint(p * (calibration + 1)).astype(int)  # 1 to n + 1; at most k / n of the calibration lies below k
    at_most = np.cumsum(np.bincount(ranks, minlength=calibration + 2))[1 : calibration + 2] / len(p)
    steps = np.arange(calibration + 1) / calibration
    distance = max(np.abs(at_most - steps).max(), np.abs(np.append(0.0, at_most[:-1]) - steps).max())
    size = calibration * len(p) / (calibration + len(p))
    return float(stats.kstwo.sf(distance, max(1, round(size))))


def false_discoveries(
    normal: ArrayLike,
    anomalous: ArrayLike,
    rate: float,
    *,
    size: int = 1000,
    share: float = 0.05,
    catalogues: int = 40,
    resamples: int = 200,
    seed: int = 0,
) -> tuple[Estimate, Estimate]:
    """What Benjamini and Hochberg's procedure does in catalogues that are drawn from images with known answers.

    Args:
        normal, anomalous: p-values of either.
        rate: of false discoveries that is asked for.
        size: images in a catalogue.
        share: of these that are anomalous.
        catalogues: drawn, with replacement, of the images and of each of their ``resamples``.
        seed: of all draws.

    Returns:
        The mean share of discoveries that are false, none being false of none, and that of the anomalous images which
        are found; intervals of 95 %, bootstrap over images.
    """
    groups = [np.asarray(p, dtype=np.float64) for p in (normal, anomalous)]
    if not all(len(group) for group in groups):
        unknown = Estimate(math.nan, math.nan, math.nan)
        return unknown, unknown
    rng = np.random.default_rng(seed)
    counts = [size - round(share * size), round(share * size)]

    def measured(groups: list[Array]) -> Array:
        """Both shares, mean over catalogues."""
        drawn = [group[rng.integers(len(group), size=(catalogues, n))] for group, n in zip(groups, counts, strict=True)]
        found = stats.false_discovery_control(np.hstack(drawn), axis=1) <= rate * (1 + 1e-12)  # but for rounding
        false, true = found[:, : counts[0]].sum(1), found[:, counts[0] :].sum(1)
        return np.array([(false / np.maximum(false + true, 1)).mean(), (true / counts[1]).mean()])

    whole = np.mean([measured(groups) for _ in range(5)], axis=0)
    again = [measured([rng.choice(group, len(group)) for group in groups]) for _ in range(resamples)]
    low, high = np.quantile(again, [0.025, 0.975], axis=0)
    first, second = (
        Estimate(float(v), min(float(a), float(v)), max(float(b), float(v)))
        for v, a, b in zip(whole, low, high, strict=True)
    )
    return first, second


def _above(scores: Array, positive: NDArray[np.bool_], weights: Array) -> tuple[Array, Array]:
    """Weights of positives and of negatives at or above each of the different scores, the greatest first, (R, G)."""
    order = np.argsort(-scores, kind="stable")
    weights, positive, scores = weights[:, order], positive[order], scores[order]
    starts = np.flatnonzero(np.diff(scores, prepend=np.nan) != 0)
    found = np.add.reduceat(weights * positive, starts, axis=1)
    false = np.add.reduceat(weights * ~positive, starts, axis=1)
    return found.cumsum(1), false.cumsum(1)


def _checked(scores: ArrayLike, anomalous: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(anomalous, dtype=bool)
    if s.ndim != 1 or s.shape != y.shape or not len(s):
        raise InputError(f"scores {s.shape} and labels {y.shape} do not fit; expected (N,) both, N > 0")
    if np.isnan(s).any():
        raise InputError(f"{int(np.isnan(s).sum())} of {len(s)} scores are not numbers")
    return s, y

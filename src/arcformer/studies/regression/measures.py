"""What is measured of posteriors: errors, intervals that hold the truth, ranks, likelihood. Each with its interval.

N images, S samples of each, P targets, R resamples. Errors are those of the posterior's mean, but for ``median_mae``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from arcformer.metrics import Estimate, bootstrap, wilson

# places, uniformity and reference_places stand in for ranks, flatness and tarp of arcformer.metrics
__all__ = ["LEVELS", "RANGES", "bands", "errors", "held", "likelihood", "places", "reference_places", "uniformity"]

Array = NDArray[np.float64]

LEVELS = (50, 68, 90, 95)
"""Per cent that a central interval is to hold."""

RANGES = {"below_*": (-math.inf, math.inf), "r2_*": (-math.inf, 1.0)} | {
    **dict.fromkeys(("coverage_*", "sbc_p_*", "tarp_p", "tarp_deviation"), (0.0, 1.0)),
    **dict.fromkeys(("mae_*", "*_mae_*", "rmse_*", "scatter_*", "width_*"), (0.0, math.inf)),
}
"""Between which ends numbers lie, by shell patterns of their names."""

BINS = 20
"""Of the histogram of ranks."""


def errors(
    mean: Array, median: Array, width: Array, truth: Array, names: Sequence[str], seed: int
) -> dict[str, Estimate]:
    """Of every target: ``mae``, ``median_mae``, ``rmse``, ``r2``, ``bias``, ``scatter`` about it, ``width``.

    Args:
        mean, median, width, truth: (N, P). The width is half of the central 68 % interval.
        names: of the targets.
        seed: of the bootstrap, which draws images.
    """
    off = mean - truth
    size = len(names)
    columns = np.hstack([np.abs(off), np.abs(median - truth), off, off**2, truth, truth**2, width])

    def metrics(weights: Array) -> dict[str, Array]:
        averages = np.split(weights @ columns / weights.sum(1, keepdims=True), columns.shape[1] // size, axis=1)
        absolute, of_median, bias, square, first, second, wide = averages
        variance = second - first**2
        r2 = 1 - np.divide(square, variance, out=np.full_like(square, np.nan), where=variance > 1e-12 * second)
        found = {
            "mae": absolute,
            "median_mae": of_median,
            "rmse": np.sqrt(square),
            "r2": r2,
            "bias": bias,
            "scatter": np.sqrt(np.maximum(square - bias**2, 0)),
            "width": wide,
        }
        return {f"{what}_{name}": values[:, k] for what, values in found.items() for k, name in enumerate(names)}

    return bootstrap(metrics, len(truth), seed=seed)


def places(samples: Array, truth: Array) -> Array:
    """Where the truth stands among the samples of each image and target, (N, P), between 0 and 1.

    The rank among S samples (Talts et al. 2018, arXiv 1804.06788), in the middle of its share: (rank + 1/2) / (S + 1).
    Ties count half.
    """
    below = (samples < truth[:, None]).sum(1) + (samples == truth[:, None]).sum(1) / 2
    return (below + 0.5) / (samples.shape[1] + 1)


def held(place: Array, names: Sequence[str]) -> dict[str, Estimate]:
    """``coverage_68_NAME`` and so on: how often the central interval of each of ``LEVELS`` holds the truth, Wilson."""
    found = {}
    for level in LEVELS:
        inside = np.abs(place - 0.5) <= level / 200
        counts = zip(names, inside.sum(0), strict=True)
        found |= {f"coverage_{level}_{name}": wilson(int(count), len(place)) for name, count in counts}
    return found


def uniformity(place: Array) -> tuple[Array, float]:
    """Images in each of ``BINS`` bins of their place (N,), and the chi-square p value of their being even."""
    counts = np.histogram(place, bins=BINS, range=(0.0, 1.0))[0]
    return counts.astype(float), float(stats.chisquare(counts).pvalue)


def reference_places(samples: Array, truth: Array, seed: int) -> Array:
    """For each image the share of samples that are nearer to a random point than the truth is, (N,): uniform if exact.

    TARP (Lemos et al. 2023, ICML, arXiv 2302.03026, algorithm 2). The points are uniform in the range of the true
    values of all images; distances are Euclidean, each target in units of that range.
    """
    low, high = truth.min(0), truth.max(0)
    span = np.where(high > low, high - low, 1.0)
    points = np.random.default_rng(seed).uniform(size=truth.shape)
    nearer = np.empty(len(truth))
    for row, point in enumerate(points):  # image by image: all samples at once would be copied
        inside = np.square((samples[row] - low) / span - point).sum(1)
        nearer[row] = (np.sum(inside < np.square((truth[row] - low) / span - point).sum()) + 0.5) / (len(inside) + 1)
    return nearer


def likelihood(log_density: Array, nearer: Array, seed: int) -> dict[str, Estimate]:
    """``nll``, the mean of minus the log density at the truth, nats; ``tarp_deviation`` and ``tarp_p``.

    The deviation is the greatest difference between a level of credibility and how often the regions of TARP of that
    level hold the truth; p is Kolmogorov's and Smirnov's.
    """
    levels = np.linspace(0, 1, 51)[1:-1]
    inside = (nearer[:, None] <= levels).astype(float)

    def metrics(weights: Array) -> dict[str, Array]:
        total = weights.sum(1)
        return {
            "nll": -(weights @ log_density) / total,
            "tarp_deviation": np.abs(weights @ inside / total[:, None] - levels).max(1),
        }

    found = bootstrap(metrics, len(nearer), seed=seed)
    return found | {"tarp_p": Estimate(float(stats.kstest(nearer, "uniform").pvalue), math.nan, math.nan)}


def bands(off: Array, width: Array, along: Array, seed: int, bins: int = 8) -> list[dict[str, Any]]:
    """Bias, scatter, mean absolute error and posterior width in bins of ``along`` with as many images each.

    Args:
        off, width, along: (N,): the error of one target, half of its 68 % interval, and what the bins are of.

    Returns:
        Rows with ``low`` and ``high`` of the bin, ``middle`` (the median of ``along``), ``images``, and an ``Estimate``
        for each of ``bias``, ``scatter``, ``mae``, ``width``.
    """
    rows = []
    for part in np.array_split(np.argsort(along, kind="stable"), max(1, min(bins, len(along) // 10))):
        inside, error = along[part], off[part, None]
        found = errors(error, error, width[part, None], np.zeros_like(error), [""], seed)
        kept = {what: found[f"{what}_"] for what in ("bias", "scatter", "mae", "width")}
        ends = {"low": float(inside.min()), "high": float(inside.max()), "middle": float(np.median(inside))}
        rows.append(ends | {"images": len(part)} | kept)
    return rows

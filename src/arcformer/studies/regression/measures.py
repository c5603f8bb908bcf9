"""Numbers of posteriors, each with its 95 % interval: errors, likelihood, coverage, ranks, TARP.

What is said of samples and a truth is in ``metrics/posterior.py``; here it gets names and intervals.

N images, S samples of each, P targets, R resamples. Errors are those of the posterior's mean, but for ``median_mae``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arcformer.metrics import LEVELS, Estimate, Flatness, Tarp, bootstrap, wilson, within
from arcformer.metrics.intervals import WeightedMetrics
from arcformer.sim.parameters import is_logarithm

__all__ = ["PERCENT", "RANGES", "alone", "bands", "errors", "held", "likelihood", "relative_errors"]

Array = NDArray[np.float64]

PERCENT = {round(100 * level): level for level in LEVELS}
"""Levels of central intervals, by how they are called."""

RANGES = {"below_*": (-math.inf, math.inf), "r2_*": (-math.inf, 1.0)} | {
    **dict.fromkeys(("coverage_*", "sbc_p_*", "tarp_p", "tarp_deviation"), (0.0, 1.0)),
    **dict.fromkeys(("mae_*", "*_mae_*", "relative_error_*", "rmse_*", "scatter_*", "width_*"), (0.0, math.inf)),
}
"""Between which ends numbers lie, by shell patterns of their names."""


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


def relative_errors(mean: Array, truth: Array, names: Sequence[str], seed: int) -> dict[str, Estimate]:
    """``relative_error_NAME``, the median of |mean - truth| / truth, of targets that are positive and no logarithms."""
    found = {}
    for k, name in enumerate(names):
        if is_logarithm(name) or not (truth[:, k] > 0).all():
            continue
        median = weighted_median(np.abs(mean[:, k] / truth[:, k] - 1))
        found[f"relative_error_{name}"] = bootstrap(median, len(truth), seed=seed)[""]
    return found


def weighted_median(values: Array) -> WeightedMetrics:
    """The median of ``values`` (N,), without a name, as a function of weights (R, N)."""
    order = np.argsort(values)

    def metric(weights: Array) -> dict[str, Array]:
        below = weights[:, order].cumsum(1)
        return {"": values[order[(2 * below >= below[:, -1:]).argmax(1)]]}

    return metric


def held(ranks: Array, samples: int, flat: Flatness, names: Sequence[str]) -> dict[str, Estimate]:
    """``coverage_68_NAME`` and so on, how often central intervals hold the truth, Wilson; ``sbc_p_NAME``.

    Args:
        ranks: (N, P), of the truth among so many ``samples``.
        flat: of these ranks.
    """
    found = {}
    for percent, inside in zip(PERCENT, within(ranks, samples), strict=True):
        counts = zip(names, inside.sum(0), strict=True)
        found |= {f"coverage_{percent}_{name}": wilson(int(count), len(ranks)) for name, count in counts}
    return found | {f"sbc_p_{name}": alone(p) for name, p in zip(names, flat.p_value.tolist(), strict=True)}


def likelihood(log_density: Array, together: Tarp, seed: int) -> dict[str, Estimate]:
    """``nll``, the mean of minus the log density (N,) at the truth, nats; ``tarp_deviation`` and ``tarp_p``.

    The deviation is the greatest difference between a level of credibility and how often the regions of TARP of that
    level hold the truth; p is Kolmogorov's and Smirnov's.
    """
    inside = (together.nearer[:, None] <= together.levels).astype(float)

    def metrics(weights: Array) -> dict[str, Array]:
        total = weights.sum(1)
        return {
            "nll": -(weights @ log_density) / total,
            "tarp_deviation": np.abs(weights @ inside / total[:, None] - together.levels).max(1),
        }

    return bootstrap(metrics, len(inside), seed=seed) | {"tarp_p": alone(together.p_value)}


def alone(value: float) -> Estimate:
    """A number of which no interval is known."""
    return Estimate(value, math.nan, math.nan)


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

"""How sure a number is: bootstrap intervals for any metric, Wilson or exact intervals for proportions.

A bootstrap replaces the test set by sets of as many images drawn from it with replacement. That is the same as
weighting each image by how often it was drawn, and metrics that take weights do thousands of resamples as array
operations. R resamples, N images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["Estimate", "bootstrap", "clopper_pearson", "from_rows", "mean", "rank_correlation", "wilson"]

WeightedMetrics = Callable[[NDArray[np.float64]], Mapping[str, NDArray[np.float64]]]
"""Weights (R, N) to named values (R,)."""

_CHUNK = 2_000_000
"""Weights held at once; bounds the memory for large test sets."""


@dataclass(frozen=True)
class Estimate:
    """A value with the ends of its interval, of 95 % where nothing else is said."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def bootstrap(
    metrics: WeightedMetrics | Sequence[WeightedMetrics],
    rows: int,
    *,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """Bias-corrected percentile intervals (Efron 1981, Can. J. Stat. 9, 139) of ``metrics``, from the same resamples.

    The correction matters for metrics that resampling moves to one side, as it raises the calibration error; for the
    others it gives plain percentiles. Resamples where a metric is NaN (a class was not drawn) are left out for it.

    Args:
        metrics: weights (R, N) to a mapping of names to values (R,). The estimate is its value for weights of one. Of
            several, as of runs with different seeds on the same images, it is the mean, and they are drawn as well as
            the images. Of very few the interval is a little too narrow: three runs know little of their scatter.
        rows: N, the number of images.
        seed: of the resampling; the same seed gives the same intervals.
        resamples: how many.
        level: coverage of the interval.
    """
    runs: list[WeightedMetrics] = [metrics] if callable(metrics) else list(metrics)
    rng, of_runs = np.random.default_rng(seed), np.random.default_rng((seed, 1))
    whole = [run(np.ones((1, rows))) for run in runs]
    values = {name: float(np.mean([found[name][0] for found in whole])) for name in whole[0]}
    drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name in values}
    step = max(1, _CHUNK // rows)
    for start in range(0, resamples, step):
        weights = _counts(rng, min(step, resamples - start), rows)
        each = [run(weights) for run in runs]
        chosen = of_runs.integers(len(runs), size=(len(runs), len(weights)))
        for name in values:
            of_each = np.stack([found[name] for found in each])
            drawn[name].append(np.take_along_axis(of_each, chosen, 0).mean(0))
    return {name: _bias_corrected(value, np.concatenate(drawn[name]), level) for name, value in values.items()}


def from_rows(
    metric: Callable[..., float], *arrays: NDArray, name: str = "metric"
) -> Callable[[NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """Any function of arrays that lead with N as a weighted metric for ``bootstrap``: it sees drawn rows, repeated.

    >>> x = np.arange(100.0)
    >>> bootstrap(from_rows(np.median, x), len(x))["metric"].value
    49.5
    """

    def weighted(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        drawn = (np.repeat(np.arange(len(row)), row.astype(int)) for row in weights)
        return {name: np.array([metric(*(array[rows] for array in arrays)) for rows in drawn])}

    return weighted


def wilson(successes: int, trials: int, *, level: float = 0.95) -> Estimate:
    """A proportion with its Wilson score interval (Wilson 1927); NaN in [0, 1] without trials."""
    return _proportion(successes, trials, level, "wilson")


def clopper_pearson(successes: int, trials: int, *, level: float = 0.95) -> Estimate:
    """A proportion with its exact binomial interval (Clopper and Pearson 1934); NaN in [0, 1] without trials.

    It holds the truth at least as often as it says, however rare the successes: for rates that are promised.
    """
    return _proportion(successes, trials, level, "exact")


def rank_correlation(first: NDArray, second: NDArray, *, level: float = 0.95) -> Estimate:
    """Spearman's correlation of two columns (N,), with the interval of Bonett and Wright (2000, Psychometrika 65, 23).

    NaN where one of them never varies, and without an interval of fewer than four rows.
    """
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return Estimate(float("nan"), float("nan"), float("nan"))
    value = float(stats.spearmanr(first, second)[0])  # pyright: ignore[reportArgumentType]
    if len(first) < 4 or abs(value) >= 1:
        return Estimate(value, float("nan"), float("nan"))
    half = stats.norm.ppf((1 + level) / 2) * np.sqrt((1 + value**2 / 2) / (len(first) - 3))
    return Estimate(value, float(np.tanh(np.arctanh(value) - half)), float(np.tanh(np.arctanh(value) + half)))


def mean(values: Sequence[float], *, level: float = 0.95, within: tuple[float, float] = (-np.inf, np.inf)) -> Estimate:
    """The mean of a few independent values, as of runs with different seeds, with Student's interval (1908).

    NaN without values; of one value no interval is known, and its ends are NaN.

    Args:
        values: N of them.
        level: coverage of the interval.
        within: where values can be at all; of what lies beyond, the interval has nothing.
    """
    n = len(values)
    centre = float(np.mean(values)) if n else float("nan")
    if n < 2:
        return Estimate(centre, float("nan"), float("nan"))
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    low, high = within
    return Estimate(centre, max(centre - half, low), min(centre + half, high))


def _proportion(successes: int, trials: int, level: float, method: Literal["wilson", "exact"]) -> Estimate:
    if trials == 0:
        return Estimate(float("nan"), 0.0, 1.0)
    ends = stats.binomtest(successes, trials).proportion_ci(level, method=method)
    return Estimate(successes / trials, float(ends.low), float(ends.high))


def _counts(rng: np.random.Generator, resamples: int, rows: int) -> NDArray[np.float64]:
    """How often each row is drawn, (R, N)."""
    drawn = rng.integers(rows, size=(resamples, rows)) + rows * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * rows).reshape(resamples, rows).astype(np.float64)


def _bias_corrected(value: float, drawn: NDArray[np.float64], level: float) -> Estimate:
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or len(drawn) == 0:
        return Estimate(value, float("nan"), float("nan"))
    below = np.mean(drawn < value) + np.mean(drawn == value) / 2
    half = stats.norm.ppf((1 + level) / 2)
    bias = np.clip(stats.norm.ppf(below), -half, half)  # beyond, the resamples do not reach the value at all
    low, high = np.quantile(drawn, stats.norm.cdf([2 * bias - half, 2 * bias + half]))
    return Estimate(value, min(float(low), value), max(float(high), value))

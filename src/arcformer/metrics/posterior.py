"""Are posteriors what they claim to be? Coverage, ranks, TARP, sharpness, of samples; and coverage as a metric.

N images, S samples of each posterior, P parameters, L levels. Samples (N, S, P), truths (N, P), in any units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from torch import Tensor
from torchmetrics import Metric

from arcformer.errors import InputError

__all__ = [
    "CENTRAL",
    "LEVELS",
    "Flatness",
    "IntervalCoverage",
    "Tarp",
    "coverage",
    "flatness",
    "ranks",
    "sharpness",
    "tails",
    "tarp",
    "within",
]

LEVELS = (0.5, 0.68, 0.9, 0.95)
"""Probabilities within the intervals that are looked at."""

CENTRAL = 0.68
"""Of these, that within the interval which is told of a posterior."""

BINS = 20
"""Of ranks, where there are images enough."""

ENOUGH = 5
"""Images for each bin; with fewer, chi-square is not what the counts follow."""

Array = ArrayLike | torch.Tensor


def tails(level: float) -> tuple[float, float]:
    """The probabilities below the two ends of the central interval that holds ``level``."""
    return (1 - level) / 2, (1 + level) / 2


def ranks(samples: Array, truth: Array) -> NDArray[np.float64]:
    """How many samples lie below the truth, (N, P), from 0 to S; one that equals it counts half.

    Calibrated: all equally often. Simulation-based calibration (Talts et al. 2018, arXiv 1804.06788, algorithm 1).

    Raises:
        InputError: shapes that do not fit, values that are not finite.
    """
    s, t = _checked(samples, truth)
    return (s < t[:, None]).sum(1) + (s == t[:, None]).sum(1) / 2


def within(found: NDArray[np.float64], samples: int, levels: ArrayLike = LEVELS) -> NDArray[np.bool_]:
    """Whether the central interval of each level holds the truth, (L, N, P), by ``ranks`` among so many ``samples``.

    A rank stands in the middle of the share of probability that is its own, (rank + 1/2) / (S + 1).
    """
    off = np.abs((np.asarray(found) + 0.5) / (samples + 1) - 0.5)
    return off <= np.reshape(levels, (-1, 1, 1)) / 2


def coverage(samples: Array, truth: Array, levels: Sequence[float] = LEVELS) -> NDArray[np.float64]:
    """The share of truths (L, P) that lie in the central interval of each level. Calibrated: the level itself.

    Of S samples an interval can hold the truth with but S + 1 probabilities, so that S should be a few hundred.

    Raises:
        InputError: shapes that do not fit, values that are not finite, levels that are no probabilities.
    """
    if not all(0 < level < 1 for level in levels):
        raise InputError(f"levels are probabilities between 0 and 1, got {list(levels)}")
    return within(ranks(samples, truth), np.shape(samples)[1], levels).mean(1)


@dataclass(frozen=True)
class Flatness:
    """Whether ranks are flat.

    Attributes:
        counts: (bins, P), how many ranks lie in each bin.
        expected: (bins,), how many would.
        p_value: (P,), the probability of a chi-square as large, were they flat; NaN of images too few to tell.
    """

    counts: NDArray[np.int64]
    expected: NDArray[np.float64]
    p_value: NDArray[np.float64]


def flatness(found: NDArray[np.float64], samples: int, bins: int | None = None) -> Flatness:
    """Pearson's chi-square test of ranks (N, P) among so many ``samples``, in bins as equal as they can be.

    Args:
        found: as ``ranks`` gives them.
        samples: S.
        bins: how many; None: 20, or as many as leave five images for each. With fewer images there is no p.

    Raises:
        InputError: one bin alone, or more of them than ranks there can be.
    """
    if bins is None:
        bins = max(2, min(BINS, samples + 1, len(found) // ENOUGH))
    if not 2 <= bins <= samples + 1:
        raise InputError(f"{bins} bins for ranks among {samples} samples: expected 2 or more, at most one a rank")
    place = (np.asarray(found) * bins // (samples + 1)).astype(np.int64)
    share = np.bincount(np.arange(samples + 1) * bins // (samples + 1), minlength=bins) / (samples + 1)
    counts = np.stack([np.bincount(column, minlength=bins) for column in place.T], axis=1)
    expected = share * len(found)
    square = ((counts - expected[:, None]) ** 2 / expected[:, None]).sum(0)
    p_value = stats.chi2.sf(square, bins - 1)
    return Flatness(counts, expected, p_value if len(found) >= ENOUGH * bins else np.full_like(p_value, np.nan))


@dataclass(frozen=True)
class Tarp:
    """Expected coverage.

    Attributes:
        nearer: (N,), of each image the share of samples that are nearer to its reference point than the truth is;
            calibrated: uniform between 0 and 1.
        levels: (L,), credibility.
        coverage: (L,), the share of truths within, whose ``nearer`` is not above it; calibrated: the level itself.
        p_value: the probability of a largest difference between the two as large, were posteriors right.
    """

    nearer: NDArray[np.float64]
    levels: NDArray[np.float64]
    coverage: NDArray[np.float64]
    p_value: float


def tarp(samples: Array, truth: Array, *, references: Array | None = None, levels: int = 51, seed: int = 0) -> Tarp:
    """Coverage of all parameters together, with random points (Lemos et al. 2023, arXiv 2302.03026).

    Of each image the share of samples is counted that are nearer to a reference point than the truth is (algorithm 2),
    as (count + 1/2) / (S + 1). These shares are uniform where posteriors are right, and for all reference points
    nowhere else. Parameters are scaled to [0, 1] over the truths, distances are Euclidean.

    Args:
        samples, truth: as above.
        references: (N, P), in the units of the parameters; None: uniform over the range of the truths. A posterior that
            is the prior passes unless references depend on the image.
        levels: L, from 0 to 1.
        seed: of the references.

    Raises:
        InputError: shapes that do not fit, values that are not finite.
    """
    s, t = _checked(samples, truth)
    low, high = t.min(0), t.max(0)
    unit = np.where(high > low, high - low, 1.0)
    if references is None:
        points = low + unit * np.random.default_rng(seed).uniform(size=t.shape)
    else:
        points = _array(references)
        if points.shape != t.shape:
            raise InputError(f"references {points.shape} do not fit truths {t.shape}")
    own = np.square((t - points) / unit).sum(1)
    inside = [  # image by image: all samples at once would be copied
        (np.square((drawn - point) / unit).sum(1) < radius).sum()
        for drawn, point, radius in zip(s, points, own, strict=True)
    ]
    nearer = (np.array(inside) + 0.5) / (s.shape[1] + 1)
    alpha = np.linspace(0, 1, levels)
    return Tarp(nearer, alpha, (nearer[:, None] <= alpha).mean(0), float(stats.kstest(nearer, "uniform").pvalue))


def sharpness(samples: Array, level: float = CENTRAL) -> NDArray[np.float64]:
    """The mean width (P,) of the central interval, in the units of the parameters: of calibrated posteriors the
    narrowest are the best (Gneiting et al. 2007, J. R. Stat. Soc. B 69, 243).
    """
    low, high = np.quantile(_array(samples), tails(level), axis=1)
    return (high - low).mean(0, dtype=np.float64)


class IntervalCoverage(Metric):
    """The share of truths within intervals, of each parameter: ``update`` takes ``low``, ``high``, ``target`` (B, P).

    A scalar where P is 1.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    inside: Tensor
    images: Tensor

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.add_state("inside", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, low: Tensor, high: Tensor, target: Tensor) -> None:
        self.inside = self.inside + ((low <= target) & (target <= high)).float().sum(0)
        self.images += len(target)

    def compute(self) -> Tensor:
        return (self.inside / self.images).squeeze()


def _checked(samples: Array, truth: Array) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    s, t = _array(samples), _array(truth)
    if s.ndim != 3 or t.shape != (s.shape[0], s.shape[2]) or 0 in s.shape:
        raise InputError(f"samples {s.shape} and truths {t.shape} do not fit; expected (N, S, P) and (N, P)")
    if not (np.isfinite(s).all() and np.isfinite(t).all()):
        raise InputError("samples and truths must be finite; is there an image without the parameter?")
    return s, t


def _array(values: Array) -> NDArray[np.floating]:
    """As it is, where it is of floating point: of many images, samples in float64 would not fit twice."""
    found = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    return found if np.issubdtype(found.dtype, np.floating) else found.astype(np.float64)

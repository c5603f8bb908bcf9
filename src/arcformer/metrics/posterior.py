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

__all__ = ["LEVELS", "Flatness", "IntervalCoverage", "Tarp", "coverage", "flatness", "ranks", "sharpness", "tarp"]

LEVELS = (0.5, 0.68, 0.9, 0.95)
"""Probabilities within the intervals that are looked at."""

Array = ArrayLike | torch.Tensor


def coverage(samples: Array, truth: Array, levels: Sequence[float] = LEVELS) -> NDArray[np.float64]:
    """The share of truths (L, P) that lie in the central interval of each level. Calibrated: the level itself.

    Of S samples an interval can hold the truth with but S + 1 probabilities, so that S should be a few hundred.

    Raises:
        InputError: shapes that do not fit, values that are not finite, levels that are no probabilities.
    """
    s, t = _checked(samples, truth)
    wanted = np.asarray(levels, dtype=np.float64)
    if not ((wanted > 0) & (wanted < 1)).all():
        raise InputError(f"levels are probabilities between 0 and 1, got {list(levels)}")
    tails = np.concatenate([(1 - wanted) / 2, (1 + wanted) / 2])
    low, high = np.split(np.quantile(s, tails, axis=1), 2)  # (L, N, P) each
    return ((t >= low) & (t <= high)).mean(1)


def ranks(samples: Array, truth: Array) -> NDArray[np.int64]:
    """How many samples lie below the truth, (N, P), from 0 to S. Calibrated: all equally often.

    Simulation-based calibration (Talts et al. 2018, arXiv 1804.06788, algorithm 1).

    Raises:
        InputError: shapes that do not fit, values that are not finite.
    """
    s, t = _checked(samples, truth)
    return (s < t[:, None]).sum(1)


@dataclass(frozen=True)
class Flatness:
    """Whether ranks are flat.

    Attributes:
        counts: (bins, P), how many ranks lie in each bin.
        expected: (bins,), how many would.
        p_value: (P,), the probability of a chi-square as large, were they flat.
    """

    counts: NDArray[np.int64]
    expected: NDArray[np.float64]
    p_value: NDArray[np.float64]


def flatness(found: NDArray[np.int64], samples: int, bins: int = 20) -> Flatness:
    """Pearson's chi-square test of ranks (N, P) among so many ``samples``, in bins as equal as they can be.

    Raises:
        InputError: fewer than five ranks a bin, of which the test would know nothing; more bins than ranks there are.
    """
    if not 2 <= bins <= samples + 1 or len(found) < 5 * bins:
        raise InputError(
            f"{len(found)} ranks among {samples} samples in {bins} bins: expected 2 bins or more, at most one a rank, "
            "and five images for each"
        )
    place = np.asarray(found) * bins // (samples + 1)
    share = np.bincount(np.arange(samples + 1) * bins // (samples + 1), minlength=bins) / (samples + 1)
    counts = np.stack([np.bincount(column, minlength=bins) for column in place.T], axis=1)
    expected = share * len(found)
    square = ((counts - expected[:, None]) ** 2 / expected[:, None]).sum(0)
    return Flatness(counts, expected, stats.chi2.sf(square, bins - 1))


@dataclass(frozen=True)
class Tarp:
    """Expected coverage.

    Attributes:
        levels: (L,), credibility.
        coverage: (L,), the share of truths within; calibrated: the level itself.
        p_value: the probability of a largest difference between the two as large, were posteriors right.
    """

    levels: NDArray[np.float64]
    coverage: NDArray[np.float64]
    p_value: float


def tarp(samples: Array, truth: Array, *, references: Array | None = None, levels: int = 50, seed: int = 0) -> Tarp:
    """Coverage of all parameters together, with random points (Lemos et al. 2023, arXiv 2302.03026).

    Of each image the share of samples is counted that are nearer to a reference point than the truth is (algorithm 2).
    These shares are uniform where posteriors are right, and for all reference points nowhere else. Parameters are
    scaled to [0, 1] over the truths.

    Args:
        samples, truth: as above.
        references: (N, P), in the units of the parameters; None: uniform over the range of the truths. A posterior that
            is the prior passes unless references depend on the image.
        levels: L, between 0 and 1.
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
    distance = np.sqrt((((s - points[:, None]) / unit) ** 2).sum(-1))
    own = np.sqrt((((t - points) / unit) ** 2).sum(-1))
    share = (distance < own[:, None]).mean(1)
    alpha = np.linspace(0, 1, levels)
    return Tarp(alpha, (share[:, None] <= alpha).mean(0), float(stats.kstest(share, "uniform").pvalue))


def sharpness(samples: Array, level: float = 0.68) -> NDArray[np.float64]:
    """The mean width (P,) of the central interval, in the units of the parameters: of calibrated posteriors the
    narrowest are the best (Gneiting et al. 2007, J. R. Stat. Soc. B 69, 243).
    """
    s = _array(samples)
    low, high = np.quantile(s, [(1 - level) / 2, (1 + level) / 2], axis=1)
    return (high - low).mean(0)


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


def _checked(samples: Array, truth: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    s, t = _array(samples), _array(truth)
    if s.ndim != 3 or t.shape != (s.shape[0], s.shape[2]) or 0 in s.shape:
        raise InputError(f"samples {s.shape} and truths {t.shape} do not fit; expected (N, S, P) and (N, P)")
    if not (np.isfinite(s).all() and np.isfinite(t).all()):
        raise InputError("samples and truths must be finite; is there an image without the parameter?")
    return s, t


def _array(values: Array) -> NDArray[np.float64]:
    found = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    return found.astype(np.float64)

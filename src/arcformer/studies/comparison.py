"""By how much two results differ, with an interval."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from arcformer.metrics.classification import weighted_auc
from arcformer.metrics.intervals import Estimate, bootstrap

__all__ = ["auc_difference", "difference"]


def auc_difference(
    first: NDArray[np.float64], second: NDArray[np.float64], labels: NDArray[np.int64], *, seed: int = 0
) -> Estimate:
    """Macro one-vs-rest AUC of ``first`` minus that of ``second``, probabilities (N, K) for the **same** N images.

    The bootstrap draws images, and both see the same ones: what is hard for both cancels, and the interval is
    narrower than those of the two AUCs would suggest.
    """

    def metrics(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        gains = [
            weighted_auc(first[:, k], labels == k, weights) - weighted_auc(second[:, k], labels == k, weights)
            for k in range(first.shape[1])
        ]
        return {"gain": np.mean(gains, axis=0)}

    return bootstrap(metrics, len(labels), seed=seed)["gain"]


def difference(first: Estimate, second: Estimate) -> Estimate:
    """``first`` minus ``second``, measured on **different** images, with its 95 % interval.

    From the two intervals alone, which need not be symmetric (Newcombe 1998, Stat. Med. 17, 873, method 10; for any
    estimate: Zou and Donner 2008, Stat. Med. 27, 1693).
    """
    value = first.value - second.value
    low = value - math.hypot(first.value - first.low, second.high - second.value)
    high = value + math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(value, low, high)

"""How rare a score is among normal images: conformal p-values and thresholds, and the box plot for comparison.

n scores of held-out normal images calibrate them. Where an image is exchangeable with those, its p-value is at most u
with a probability of at most u, whatever the statistic and the images are (Vovk, Gammerman & Shafer 2005; Bates et al.
2023, arXiv 2104.08279, for catalogues).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from arcformer.errors import InputError

__all__ = ["box_plot", "needed", "p_values", "threshold", "trimmed"]


def p_values(scores: Tensor, calibration: Tensor) -> Tensor:
    """(1 + number of ``calibration`` >= score) / (n + 1), (B,) float64.

    In float32 one of 1,000 would be above the rate .001 that it is to be at most.

    Args:
        scores: (B,).
        calibration: (n,), sorted.
    """
    below = torch.searchsorted(calibration, scores.to(calibration).contiguous())
    return (1.0 + len(calibration) - below).double() / (len(calibration) + 1)


def threshold(calibration: Tensor, false_alarms: float) -> float:
    """The score above which p-values are at most ``false_alarms``, so that at most this share of normals is above it.

    Raises:
        InputError: a rate outside (0, 1), or too few scores for it, with how many are needed.
    """
    if not 0 < false_alarms < 1:
        raise InputError(f"a false-alarm rate is a share between 0 and 1, got {false_alarms:g}")
    count = len(calibration)
    allowed = math.floor(false_alarms * (count + 1) + 1e-9)
    if allowed < 1:
        raise InputError(
            f"{count} calibration images cannot tell a false-alarm rate of {false_alarms:g}: "
            f"{needed(false_alarms)} are needed; raise data.calibration, or of a folder give more files, and train "
            "anew, or ask for a higher rate"
        )
    return float(calibration[count - allowed])


def needed(false_alarms: float) -> int:
    """The fewest calibration scores that can tell a rate of false alarms: with fewer no p-value is as low."""
    return math.ceil(1 / false_alarms - 1 - 1e-9)


def box_plot(calibration: Tensor) -> float:
    """Q3 + 1.5 IQR of the calibration scores: the rule of a box plot, which promises no rate (Tukey 1977).

    Raises:
        InputError: no scores.
    """
    if not len(calibration):
        raise InputError("there are no calibration scores yet; calibrate first")
    first, third = torch.quantile(calibration.double(), calibration.new_tensor([0.25, 0.75], dtype=torch.double))
    return float(third + 1.5 * (third - first))


def trimmed(scores: Tensor, share: float) -> Tensor:
    """Which of ``scores`` (n,) are not among the highest ``share`` of them, (n,) bool; one stays in any case."""
    dropped = min(round(share * len(scores)), len(scores) - 1)
    kept = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
    kept[scores.argsort(stable=True)[len(scores) - dropped :]] = False
    return kept

"""What scores are usual for images as clear as one: a long exposure shows more of what any model misses.

B images; N normal ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from arcformer.tasks.anomaly.statistic import Fitted

__all__ = ["Usual", "interpolated"]

BINS, BIN_OF = 16, 64
"""Of clarity, in which scores are compared: at most so many, of so many images at least."""


class Usual(Fitted):
    """What scores normal images have, as it goes with how clear they are: a score in units of its usual scatter.

    In bins of as many images each the median, and half the distance between the quantiles of 16 and 84 %; between the
    middles of the bins it is interpolated. Until it is fitted scores are left as they are.
    """

    levels: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("levels", torch.zeros(0, 3))

    def forget(self) -> None:
        self.levels = self.levels[:0]

    def fit(self, clarity: Tensor, scores: Tensor) -> None:
        """Both (N,), of normal images."""
        bins = min(BINS, max(1, len(scores) // BIN_OF))
        ends = scores.new_tensor([0.16, 0.5, 0.84])
        rows = []
        for part in clarity.argsort(stable=True).tensor_split(bins):
            low, middle, high = torch.quantile(scores[part], ends)
            scatter = ((high - low) / 2).clamp_min(1e-6 * (1 + middle.abs()))
            rows.append(torch.stack([clarity[part].median(), middle, scatter]))
        self.levels = torch.stack(rows).to(self.levels)

    def forward(self, clarity: Tensor, scores: Tensor) -> Tensor:
        """(B,)."""
        if not len(self.levels):
            return scores
        at, middle, scatter = self.levels.T.contiguous()
        return (scores - interpolated(clarity, at, middle)) / interpolated(clarity, at, scatter)


def interpolated(x: Tensor, at: Tensor, values: Tensor) -> Tensor:
    """Linearly between ``values`` (n,) at ``at`` (n,), ascending; outside of these the first or the last."""
    if len(at) == 1:
        return values.expand_as(x)
    below = torch.searchsorted(at, x.contiguous()).clamp(1, len(at) - 1) - 1
    share = ((x - at[below]) / (at[below + 1] - at[below]).clamp_min(1e-12)).clamp(0, 1)
    return torch.lerp(values[below], values[below + 1], share)

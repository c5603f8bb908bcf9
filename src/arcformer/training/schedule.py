"""The learning rate over a run: it warms up and falls as half a cosine."""

from __future__ import annotations

import math

__all__ = ["rate_factor"]


def rate_factor(step: int, steps: int, warmup: float) -> float:
    """The rate of step ``step`` (from 0) of ``steps`` as a share of the highest one.

    Linear over the first ``warmup * steps`` steps, then (1 + cos) / 2 down to 0 at the end (Loshchilov & Hutter 2017).
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, steps - rising))))

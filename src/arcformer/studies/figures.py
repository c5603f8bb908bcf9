"""Figures that every run has: its learning curve.

Those of a result are drawn by its kind. Each function takes what it draws and gives a matplotlib ``Figure``;
``style.svg_uri`` puts it into a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

from arcformer.studies.style import BLACK, SQUARE, figure

__all__ = ["learning_curve"]


def learning_curve(
    log: Sequence[dict[str, Any]], monitor: str, images_per_step: int, best_step: int | None = None
) -> Figure:
    """Training loss and the validation metric ``monitor`` against the number of training images seen.

    Args:
        log: the lines of ``log.jsonl``: ``step`` and ``loss``, or ``step`` and ``validation``.
        monitor: the metric that chose the weights.
        images_per_step: in a step of all processes together.
        best_step: where the weights that were kept come from; a ring marks it.
    """
    losses = [(line["step"], line["loss"]) for line in log if line.get("loss") is not None]
    values = [(line["step"], line["validation"][monitor]) for line in log if monitor in line.get("validation", ())]
    with figure(2.9 * SQUARE, SQUARE - 0.2) as drawn:
        left, right = drawn.subplots(1, 2)
        if losses:
            steps, loss = np.array(losses, dtype=float).T
            left.plot(steps * images_per_step, loss, color="#0072B2", alpha=0.3, linewidth=1)
            left.plot(steps * images_per_step, _smooth(loss), color="#0072B2")
        if values:
            steps, value = np.array(values, dtype=float).T
            right.plot(steps * images_per_step, value, "o-", color="#D55E00", markersize=4)
            at_best = steps == best_step
            right.plot(
                steps[at_best] * images_per_step, value[at_best], "o", markersize=11, fillstyle="none", color=BLACK
            )
        _images_axis(left, "training loss")
        _images_axis(right, f"validation {monitor}")
    return drawn


def _smooth(values: NDArray) -> NDArray:
    """A running mean over a twentieth of the curve."""
    width = max(1, len(values) // 20)
    kernel = np.ones(width)
    return np.convolve(values, kernel, mode="same") / np.convolve(np.ones(len(values)), kernel, mode="same")


def _images_axis(axes: Axes, label: str) -> None:
    axes.set(xlabel="training images seen", title=label)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlim(left=0)

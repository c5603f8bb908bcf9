"""Figures of a classification: ROC beside that of the leak audit, confusion, calibration.

Each function takes what it draws and gives a matplotlib ``Figure``; ``style.svg_uri`` puts it into a page.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from arcformer.metrics import wilson
from arcformer.metrics.classification import BINS
from arcformer.studies.style import BLACK, GREY, SQUARE, colours, figure

if TYPE_CHECKING:
    from arcformer.studies.classification.evaluation import ClassEvaluation

__all__ = ["confusion", "reliability", "roc"]


def roc(evaluation: ClassEvaluation) -> Figure:
    """A panel for each class against the rest: the network, solid, and trivial features, dashed.

    Filled in the colour of the class: what the network adds to what needs no look at substructure. Grey: what it lacks.
    """
    classes, tints = evaluation.classes, colours(evaluation.classes)
    false_rate = np.linspace(0, 1, 501)
    with figure(SQUARE * len(classes), SQUARE + 0.25) as drawn:
        panels = drawn.subplots(1, len(classes), sharey=True, squeeze=False)[0]
        for k, (axes, name) in enumerate(zip(panels, classes, strict=True)):
            found = evaluation.report.classes[name].auc
            network = _true_rate(evaluation.probabilities[:, k], evaluation.labels == k, false_rate)
            axes.plot([0, 1], [0, 1], color="#D0D0D0", linewidth=1, zorder=1)
            axes.plot(false_rate, network, color=tints[name], label=f"network {found.value:.3f}")
            if evaluation.leaks is not None:
                trivial = _true_rate(evaluation.leaks.probabilities[:, k], evaluation.labels == k, false_rate)
                label = f"trivial {evaluation.leaks.per_class[name].value:.3f}"
                axes.plot(false_rate, trivial, color=BLACK, linewidth=1.2, dashes=(4, 2), label=label)
                for fill, where in ((tints[name], network >= trivial), (GREY, network <= trivial)):
                    axes.fill_between(false_rate, trivial, network, where, color=fill, alpha=0.15, linewidth=0)
            axes.set(title=f"{name} against the rest", xlabel="false positive rate", xlim=(-0.02, 1), ylim=(0, 1.02))
            axes.set_aspect("equal")
            axes.legend(loc="lower right", title="AUC", alignment="left", title_fontsize=9)
        panels[0].set_ylabel("true positive rate")
    return drawn


def confusion(evaluation: ClassEvaluation) -> Figure:
    """True class down, predicted class across: the share of the row in per cent, and the number of images."""
    classes, k = evaluation.classes, len(evaluation.classes)
    guess = evaluation.probabilities.argmax(1)
    counts = np.bincount(evaluation.labels * k + guess, minlength=k * k).reshape(k, k)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(SQUARE, 0.8 * k) + 0.4
    with figure(side + 0.4, side) as drawn:
        axes = drawn.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15)
        for (row, column), share in np.ndenumerate(shares):
            ink = "white" if share > 0.6 else BLACK
            axes.text(column, row - 0.08, f"{share:.1%}", ha="center", va="center", color=ink, fontsize=12)
            axes.text(column, row + 0.2, f"{counts[row, column]:,}", ha="center", va="center", color=ink, fontsize=8.5)
        axes.set_xticks(range(k), classes)
        axes.set_yticks(range(k), classes, rotation=90, va="center")
        axes.set(xlabel="predicted class", ylabel="true class")
        axes.grid(False)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return drawn


def reliability(evaluation: ClassEvaluation) -> Figure:
    """Accuracy against confidence in bins, 95 % Wilson intervals, and below how many images are in each bin."""
    confidence = evaluation.probabilities.max(1)
    right = evaluation.probabilities.argmax(1) == evaluation.labels
    edges = np.linspace(0, 1, BINS + 1)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    with figure(SQUARE + 0.8, SQUARE + 0.9) as drawn:
        upper, lower = drawn.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
        upper.plot([0, 1], [0, 1], color=GREY, linewidth=1, dashes=(4, 2))
        for k in np.unique(bins):
            inside = bins == k
            found = wilson(int(right[inside].sum()), int(inside.sum()))
            errors = [[found.value - found.low], [found.high - found.value]]
            upper.errorbar(confidence[inside].mean(), found.value, errors, fmt="o", color="#0072B2", markersize=5)
        lower.hist(confidence, bins=list(edges), color="#0072B2", alpha=0.75, rwidth=0.88)
        upper.set(ylabel="share that is right", ylim=(0, 1.02), xlim=(1 / len(evaluation.classes) - 0.05, 1.01))
        lower.set(xlabel="highest probability", ylabel="images")
        lower.grid(axis="x", visible=False)
    return drawn


def _true_rate(scores: NDArray, positive: NDArray[np.bool_], false_rate: NDArray) -> NDArray:
    """The ROC curve of ``scores`` at these false positive rates; not a number where a class has no image."""
    if positive.all() or not positive.any():
        return np.full_like(false_rate, math.nan)
    found_false, found_true, _ = roc_curve(positive, scores)
    return np.interp(false_rate, found_false, found_true)

"""Figures of a detection: ROC, histograms of scores, detection curves, and images with their maps.

Each function takes what it draws and gives a matplotlib ``Figure``; ``style.svg_uri`` puts it into a page.
"""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from arcformer.metrics.detection import FALSE_ALARMS, percent
from arcformer.sim.parameters import unit_of
from arcformer.studies.detection.extremes import Pictured
from arcformer.studies.detection.trivial import METHODS
from arcformer.studies.pictures import image_grid, sigma_layer
from arcformer.studies.style import BLACK, GREY, SQUARE, colours, figure

if TYPE_CHECKING:
    from arcformer.studies.detection.evaluation import DetectionEvaluation

__all__ = ["curves", "histogram", "pictured", "roc"]

ACROSS = 3
"""Panels in a row."""

DECADES = 30.0
"""A property that spans such a factor is drawn on a logarithmic axis."""

DASHES = {"mahalanobis": (4, 2), "forest": (1, 1.5)}


def roc(evaluation: DetectionEvaluation) -> Figure:
    """Each anomalous class against the normal ones, and trivial features of all; right where false alarms are few."""
    tints, anomalous = colours(evaluation.classes), evaluation.anomalous
    least = 0.5 / max(1, int((~anomalous).sum()))
    with figure(2.4 * SQUARE, SQUARE + 0.2) as drawn:
        panels = drawn.subplots(1, 2, sharey=True)
        for axes in panels:
            axes.plot(*[np.geomspace(least, 1, 200)] * 2, color="#D0D0D0", linewidth=1, zorder=1)
            for k, name in enumerate(evaluation.classes):
                rows = ~anomalous | (evaluation.labels == k)
                if name in evaluation.normal or not anomalous[rows].any():
                    continue
                false, true, _ = roc_curve(anomalous[rows], evaluation.scores[rows])
                label = f"{name} {evaluation.found[f'auroc_{name}'].value:.3f}"
                axes.plot(false, true, color=tints[name], label=label)
            for method, scores in evaluation.trivial.scores.items() if evaluation.trivial else ():
                false, true, _ = roc_curve(anomalous, scores)
                label = f"trivial, {METHODS[method]} {evaluation.found[f'{method}_auroc'].value:.3f}"
                axes.plot(false, true, color=BLACK, linewidth=1.2, dashes=DASHES[method], label=label)
            axes.set(xlabel="false alarm rate", ylim=(0, 1.02))
        panels[0].set(ylabel="recall", xlim=(-0.02, 1))
        panels[0].legend(loc="lower right", title="AUC", alignment="left", title_fontsize=9)
        panels[1].set(xscale="log", xlim=(least, 1))
        for rate in FALSE_ALARMS:
            panels[1].axvline(rate, color=GREY, linewidth=0.8, dashes=(2, 2))
    return drawn


def histogram(evaluation: DetectionEvaluation) -> Figure:
    """The scores of each class, normal ones filled, and the thresholds that the run knows of."""
    tints, scores = colours(evaluation.classes), evaluation.scores
    low, high = np.quantile(scores, [0.001, 0.995])
    known = [value for value in evaluation.thresholds.values() if math.isfinite(value)]
    high = max(high, *known) if known else high
    high += 1e-9 * max(1.0, abs(high))
    wide = low > 0 and high > DECADES * low
    edges = np.geomspace(low, high, 61) if wide else np.linspace(low, high, 61)
    with figure(2.2 * SQUARE, SQUARE) as drawn:
        axes = drawn.subplots()
        for k, name in enumerate(evaluation.classes):
            own = scores[evaluation.labels == k].clip(edges[0], edges[-1])  # what lies beyond is in the outer bars
            if len(own):
                counts = np.histogram(own, edges)[0] / len(own)
                fill = name in evaluation.normal
                axes.stairs(
                    counts, edges, color=tints[name], fill=fill, alpha=0.6 if fill else 1, linewidth=1.6, label=name
                )
        for (name, threshold), dashes in zip(
            evaluation.thresholds.items(), ((4, 2), (1, 1.5), (6, 2, 1, 2)), strict=False
        ):
            if math.isfinite(threshold):
                axes.axvline(threshold, color=BLACK, linewidth=1.1, dashes=dashes, label=name)
        axes.set(xlabel="score", ylabel="share of the class", xscale="log" if wide else "linear")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return drawn


def curves(evaluation: DetectionEvaluation) -> Figure:
    """Recall of each anomalous class against what it alone has, at 1 and 5 % false alarms, Wilson intervals."""
    panels = [(key, list(rows)) for key, rows in groupby(evaluation.curves, lambda row: (row["class"], row["of"]))]
    across, down = min(ACROSS, len(panels)), math.ceil(len(panels) / ACROSS)
    tints = colours(evaluation.classes)
    with figure((SQUARE + 0.2) * across, (0.9 * SQUARE + 0.2) * down) as drawn:
        grid = drawn.subplots(down, across, squeeze=False, sharey=True)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, ((kind, what), rows) in zip(grid.flat, panels, strict=False):
            middle = [row["middle"] for row in rows]
            for rate, style in zip(FALSE_ALARMS, ("o-", "s--"), strict=True):
                found = [row[f"recall_{percent(rate)}"] for row in rows]
                ends = [[one.value - one.low for one in found], [one.high - one.value for one in found]]
                axes.errorbar(
                    middle, [one.value for one in found], ends, fmt=style, color=tints[kind], markersize=4,
                    label=f"{percent(rate)} % false alarms", linewidth=1.4,
                )  # fmt: skip
                axes.axhline(rate, color=GREY, linewidth=0.8, dashes=(2, 2))
            unit = unit_of(what)
            wide = min(middle) > 0 and max(middle) > DECADES * min(middle)
            axes.set(
                title=kind,
                xlabel=f"{what}, {unit}" if unit else what,
                ylim=(0, 1.02),
                xscale="log" if wide else "linear",
            )
        drawn.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
        for axes in grid[:, 0]:
            axes.set_ylabel("recall")
    return drawn


def pictured(found: Pictured) -> Figure:
    """Images in groups, and below each the map of sigmas where there is one."""
    layers = [sigma_layer(found.sigmas)] if bool(found.sigmas.isfinite().any()) else []
    return image_grid(found.images, layers)

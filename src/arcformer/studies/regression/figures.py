"""Figures of a regression: truth against prediction, coverage, ranks, a corner plot, errors by the vortex's length.

Each function takes what it draws and gives a matplotlib ``Figure``; ``style.svg_uri`` puts it into a page.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from arcformer.metrics import CENTRAL, tails, within
from arcformer.sim.parameters import unit_of
from arcformer.studies.style import BLACK, GREY, PALETTE, SQUARE, colours, figure

if TYPE_CHECKING:
    from arcformer.studies.regression.evaluation import PosteriorEvaluation

__all__ = ["against_length", "corner_plot", "coverage", "predicted", "ranks"]

BLUE, RED = PALETTE[:2]

DRAWN = 250
"""Images, at most, that are drawn one by one; the bins below hold all."""

ACROSS = 3
"""Panels in a row."""

MOST = 8
"""Targets, at most, of a corner plot."""


def predicted(evaluation: PosteriorEvaluation) -> Figure:
    """For each target the predicted mean with its 68 % interval against the truth; below, bias and scatter in bins."""
    names = evaluation.targets
    rows = math.ceil(len(names) / ACROSS)
    across = min(len(names), ACROSS)
    drawn_ones = np.random.default_rng(evaluation.seed).permutation(len(evaluation))[:DRAWN]
    with figure((SQUARE + 0.3) * across + 0.2, (1.45 * SQUARE + 0.3) * rows) as drawn:
        grid = drawn.subplots(2 * rows, across, squeeze=False, height_ratios=[2.6, 1] * rows)
        for k in range(len(names), rows * across):
            for at in (0, 1):
                grid[2 * (k // across) + at, k % across].set_visible(False)
        for k, name in enumerate(names):
            upper, lower = (grid[2 * (k // across) + at, k % across] for at in (0, 1))
            truth, mean, low, high = (
                values[drawn_ones, k] for values in (evaluation.truth, evaluation.mean, evaluation.low, evaluation.high)
            )
            upper.plot(*[[truth.min(), truth.max()]] * 2, color=GREY, linewidth=1, dashes=(4, 2), zorder=1)
            upper.vlines(truth, low, high, color=BLUE, alpha=0.2, linewidth=0.9)
            upper.plot(truth, mean, "o", color=BLUE, markersize=2.2, alpha=0.6)
            upper.set(title=name, ylabel=_labelled("predicted", name))
            bins = evaluation.bins[name]
            middle = [row["middle"] for row in bins]
            bias, scatter = (np.array([row[what].value for row in bins]) for what in ("bias", "scatter"))
            lower.axhline(0, color=GREY, linewidth=1, dashes=(4, 2))
            lower.fill_between(middle, bias - scatter, bias + scatter, color=RED, alpha=0.15, linewidth=0)
            lower.errorbar(middle, bias, _ends([row["bias"] for row in bins]), fmt="o-", color=RED, markersize=3)
            lower.set(xlabel=_labelled("true", name), ylabel="bias ± scatter", xlim=upper.get_xlim())
    return drawn


def coverage(evaluation: PosteriorEvaluation) -> Figure:
    """How often central intervals hold the truth against how often they should, and TARP's regions of all targets."""
    nominal = np.linspace(0, 1, 101)
    count = len(evaluation)
    tints = colours(evaluation.targets)
    with figure(1.35 * SQUARE + 1.6, 1.35 * SQUARE) as drawn:
        axes = drawn.subplots()
        low, high = (stats.binom.ppf(end, count, nominal) / count for end in (0.005, 0.995))
        axes.fill_between(nominal, low, high, color="#E4E4E4", linewidth=0, label="exact, 99 %")
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, dashes=(4, 2))
        held = within(evaluation.ranks, evaluation.samples.shape[1], nominal).mean(1)
        for name, curve in zip(evaluation.targets, held.T, strict=True):
            axes.plot(nominal, curve, color=tints[name], linewidth=1.4, label=name)
        together = evaluation.together
        axes.plot(together.levels, together.coverage, color=BLACK, dashes=(5, 1), label="all together, TARP")
        axes.set(xlabel="credibility of the interval", ylabel="share that holds the truth", xlim=(0, 1), ylim=(0, 1))
        axes.set_xticks([0, 0.25, 0.5, 0.68, 0.9, 1], ["0", "0.25", "0.5", "0.68", "0.9", "1"])
        axes.set_aspect("equal")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return drawn


def ranks(evaluation: PosteriorEvaluation) -> Figure:
    """For each target how many images have their truth at which rank among the samples; flat where all is well."""
    names = evaluation.targets
    rows, across = math.ceil(len(names) / ACROSS), min(len(names), ACROSS)
    flat = evaluation.flat
    edges = np.concatenate([[0], np.cumsum(flat.expected)]) / len(evaluation)
    low, high = stats.binom.ppf([[0.005], [0.995]], len(evaluation), flat.expected / len(evaluation))
    with figure((SQUARE + 0.1) * across, 0.72 * SQUARE * rows + 0.2) as drawn:
        grid = drawn.subplots(rows, across, squeeze=False, sharey=True)
        for axes in grid.flat[len(names) :]:
            axes.set_visible(False)
        for axes, name, counts in zip(grid.flat, names, flat.counts.T, strict=False):
            axes.stairs(counts, edges, color=BLUE, fill=True, alpha=0.75)
            axes.stairs(high, edges, baseline=low, color=GREY, fill=True, alpha=0.3, linewidth=0)
            axes.stairs(flat.expected, edges, baseline=None, color=BLACK, linewidth=1)
            p = evaluation.found[f"sbc_p_{name}"].value
            axes.set(
                title=name if math.isnan(p) else f"{name}, p = {p:.2g}",
                xlim=(0, 1),
                xlabel="rank of the truth among the samples",
            )
            axes.grid(visible=False)
        for axes in grid[:, 0]:
            axes.set_ylabel("images")
    return drawn


def corner_plot(evaluation: PosteriorEvaluation, image: int = 0) -> Figure:
    """The samples of one image, every two targets against each other, and the truth in red."""
    import corner  # which imports pyplot

    names = evaluation.targets[:MOST]
    samples = evaluation.samples[image, :, : len(names)]
    side = 1.35 * len(names) + 1.1
    with figure(side, side, layout=None) as drawn, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of samples that are too few for a contour
        corner.corner(
            samples.astype(float),
            fig=drawn,
            labels=[_broken(name) for name in names],
            truths=evaluation.truth[image, : len(names)] if len(names) > 1 else None,  # one alone it cannot draw
            truth_color=RED,
            color=BLUE,
            range=[_range(samples[:, k], evaluation.truth[image, k]) for k in range(len(names))],
            quantiles=tails(CENTRAL),
            max_n_ticks=3,
            smooth=1.0,  # a few hundred samples
            label_kwargs={"fontsize": 8},
            plot_density=False,
            fill_contours=True,
        )
        if len(names) == 1:
            drawn.axes[0].axvline(evaluation.truth[image, 0], color=RED)
        for axes in drawn.axes:
            axes.tick_params(labelsize=7)
            axes.grid(visible=False)
    return drawn


def against_length(evaluation: PosteriorEvaluation) -> Figure:
    """Error and posterior width of the axion's mass against the half-length of its vortex, beside what can be known."""
    rows, floor = evaluation.against_length, evaluation.floor
    middle = [row["middle"] for row in rows]
    with figure(2.0 * SQUARE, 1.15 * SQUARE) as drawn:
        axes = drawn.subplots()
        for what, tint, words in (("mae", BLUE, "mean absolute error"), ("width", RED, "half of the 68 % interval")):
            found = [row[what] for row in rows]
            axes.errorbar(
                middle, [one.value for one in found], _ends(found), fmt="o-", color=tint, markersize=4, label=words
            )
        top = axes.get_ylim()[1]
        if floor is not None:
            axes.plot(floor.half_length, floor.error, color=BLACK, label="floor of the error, with the prior")
            axes.plot(floor.half_length, floor.sigma, color=GREY, dashes=(4, 2), label="Fisher's sigma, without it")
            top = max(top, 1.15 * float(floor.error.max()))
        axes.set(xscale="log", ylim=(0, top), xlabel="half-length of the vortex, arcsec", ylabel="dex of the mass")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    return drawn


def _ends(found: Sequence[Any]) -> list[list[float]]:
    """Intervals as matplotlib takes them."""
    return [[one.value - one.low for one in found], [one.high - one.value for one in found]]


def _range(values: Any, truth: float) -> tuple[float, float]:
    low, high = min(values.min(), truth), max(values.max(), truth)
    margin = 0.05 * (high - low) or 1e-3
    return float(low - margin), float(high + margin)


def _labelled(word: str, name: str) -> str:
    unit = unit_of(name)
    return f"{word}, {unit}" if unit else word


def _broken(name: str) -> str:
    """A long name in two lines."""
    at = name.find("_", len(name) // 2)
    return name if len(name) < 12 or at < 0 else f"{name[:at]}\n{name[at:]}"

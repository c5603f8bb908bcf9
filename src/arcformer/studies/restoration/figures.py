"""Figures of finer images: the first of them beside what they were made of, and what is there at each scale.

Each function takes what it draws and gives a matplotlib ``Figure``; ``style`` puts it into a page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure

from arcformer.studies.pictures import SIGNED
from arcformer.studies.style import BLACK, GREY, PALETTE, SQUARE, figure

if TYPE_CHECKING:
    from arcformer.studies.restoration.evaluation import RestoredEvaluation

__all__ = ["examples", "spectra"]

FAINTEST = 0.02
"""The stretch turns linear at this share of the brightest pixel."""

FARTHEST = 4.0
"""Sigmas, at which the colours of residuals end."""

SIDE = 1.9
"""Of a picture, inches."""


def examples(evaluation: RestoredEvaluation) -> Figure:
    """A row an image: what was seen, bicubic interpolation, the network's, the truth, and the residual in sigmas."""
    titles = ("input", "bicubic", "network", "truth", "(network - truth) / sigma")
    rows = evaluation.examples
    with figure(SIDE * len(titles) + 0.6, (SIDE + 0.1) * len(rows) + 0.3) as drawn:
        grid = drawn.subplots(len(rows), len(titles), squeeze=False)
        residual = None
        for axes, example in zip(grid, rows, strict=True):
            peak = max(float(example.true.max()), 1e-30)
            stretch = AsinhNorm(linear_width=FAINTEST * peak, vmin=min(float(example.true.min()), 0.0), vmax=peak)
            for panel, plane in zip(axes, (example.seen, example.bicubic, example.found, example.true), strict=False):
                panel.imshow(plane, norm=stretch, cmap="inferno", origin="lower", interpolation="nearest")
            residual = axes[-1].imshow(
                example.sigmas,
                norm=Normalize(-FARTHEST, FARTHEST),
                cmap=SIGNED,
                origin="lower",
                interpolation="nearest",
            )
        for panel, title in zip(grid[0], titles, strict=True):
            panel.set_title(title)
        for panel in grid.flat:
            panel.set(xticks=[], yticks=[])
            panel.grid(visible=False)
        if residual is not None:
            drawn.colorbar(residual, ax=grid[:, -1], shrink=0.8)
    return drawn


def spectra(evaluation: RestoredEvaluation) -> Figure:
    """The power at each spatial frequency over that of the truth; behind the line the input's pixels see nothing."""
    scale = evaluation.pixel_scale
    x = evaluation.frequencies if scale is None else evaluation.frequencies / scale
    nyquist = (0.5 if scale is None else 0.5 / scale) / evaluation.factor
    words = {"": "network"} | evaluation.rivals
    with figure(1.9 * SQUARE, 1.15 * SQUARE) as drawn:
        axes = drawn.subplots()
        axes.axhline(1, color=GREY, linewidth=1, dashes=(4, 2))
        axes.axvline(nyquist, color=GREY, linewidth=1)
        for (name, ratio), tint in zip(evaluation.spectra.items(), PALETTE, strict=False):
            axes.plot(x, np.maximum(ratio, 1e-6), color=tint, label=words[name], linewidth=1.8 if not name else 1.3)
        unit = "finer pixel" if scale is None else "arcsec"
        axes.set(yscale="log", ylim=(1e-3, 30), xlabel=f"cycles per {unit}", ylabel="power / true power")
        axes.annotate("  Nyquist of the input", (nyquist, 12), color=BLACK, fontsize=8)
        axes.legend(loc="lower left")
    return drawn

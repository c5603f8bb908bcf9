"""Pictures of lenses: asinh stretch, a scale bar in arcsec, a colour bar in the unit of the images."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.data.sky import sky_rms
from arcformer.studies.style import BLACK, GREY, colours, figure

__all__ = ["image_grid", "portrait"]

COLOURS = "inferno"
FAINTEST = 3e-3
"""The stretch turns linear at this share of the peak, if not at a brighter noise."""


def image_grid(batch: LensBatch) -> Figure:
    """Images of each class in a row of their own, all in one stretch, with class names, scale bar and colour bar."""
    assert batch.labels is not None
    rows = [(batch.labels == k).nonzero()[:, 0].tolist() for k in range(len(batch.classes))]
    columns = max(map(len, rows))
    norm = _stretch(_white(batch))
    image = None
    with figure(1.45 * columns + 0.9, 1.45 * len(rows)) as drawn:
        grid = drawn.subplots(len(rows), columns, squeeze=False)
        for k, name in enumerate(batch.classes):
            for column, axes in enumerate(grid[k]):
                _frameless(axes)
                if column < len(rows[k]):
                    image = _show(axes, batch[rows[k][column]], norm, bar=column == 0)
            grid[k, 0].set_ylabel(name, color=colours(batch.classes)[name], fontsize=11, fontweight="bold")
        if image is not None:
            _colour_bar(drawn, image, list(grid.flat), batch.unit)
    return drawn


def portrait(batch: LensBatch, probabilities: Mapping[str, float] | None = None) -> Figure:
    """One image, a batch of one in physical units, and beside it the probability of each class."""
    with figure(5.6 if probabilities else 3.6, 3.1) as drawn:
        panels = drawn.subplots(1, 2, width_ratios=[1.45, 1]) if probabilities else [drawn.subplots()]
        _frameless(panels[0])
        image = _show(panels[0], batch, _stretch(_white(batch)), bar=True)
        _colour_bar(drawn, image, [panels[0]], batch.unit)
        if probabilities:
            _probability_bars(panels[1], probabilities)
    return drawn


def _show(axes: Axes, batch: LensBatch, norm: AsinhNorm, *, bar: bool) -> AxesImage:
    """The one image of ``batch``, north up as in FITS, masked pixels grey; with ``bar``, how long an arcsec is."""
    pixels = _white(batch)[0]
    image = axes.imshow(np.ma.masked_invalid(pixels.numpy()), norm=norm, cmap=COLOURS, origin="lower")
    if bar and batch.pixel_scale is not None and bool(batch.pixel_scale[0].isfinite()):
        _scale_bar(axes, pixels.shape[-1], float(batch.pixel_scale[0]))
    return image


def _white(batch: LensBatch) -> Tensor:
    """Mean over the channels, (B, H, W) on the CPU; not a number where any of them is masked."""
    images = batch.images if batch.mask is None else batch.images.masked_fill(batch.mask, torch.nan)
    return images.detach().float().mean(1).cpu()


def _stretch(images: Tensor) -> AsinhNorm:
    """Linear within the noise, logarithmic above it; black is just below the sky and white the brightest pixels."""
    finite = images[images.isfinite()]
    if not len(finite):
        return AsinhNorm(linear_width=1.0, vmin=0.0, vmax=1.0)
    brightest, darkest = float(finite.max()), float(finite.min())
    noise = float(sky_rms(images[:, None], ~images.isfinite()[:, None]).nanmedian().nan_to_num())
    sky = float(finite.median())
    width = max(3 * noise, FAINTEST * (brightest - sky), 1e-12)
    return AsinhNorm(linear_width=width, vmin=max(darkest, sky - width), vmax=max(brightest, sky + width))


def _scale_bar(axes: Axes, side: int, pixel_scale: float) -> None:
    """A bar of 1, 2 or 5 times a power of ten arcsec, about a quarter of the image."""
    quarter = side * pixel_scale / 4
    decade = 10.0 ** math.floor(math.log10(quarter))
    length = max(step * decade for step in (1, 2, 5) if step * decade <= quarter)
    start, end, height = 0.07 * side, 0.07 * side + length / pixel_scale, 0.08 * side
    axes.plot([start, end], [height, height], color="white", linewidth=2, solid_capstyle="butt")
    axes.text((start + end) / 2, 1.4 * height, f"{length:g}″", color="white", ha="center", va="bottom", fontsize=9)


def _colour_bar(drawn: Figure, image: AxesImage, panels: list[Axes], unit: str) -> None:
    assert isinstance(image.norm, AsinhNorm)
    bar = drawn.colorbar(image, ax=panels, fraction=0.05, pad=0.02, ticks=_ticks(image.norm), format="%g")
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.minorticks_off()
    bar.set_label(f"flux per pixel [{unit}]" if unit else "flux per pixel, unit unknown")


def _ticks(norm: AsinhNorm, gap: float = 0.07) -> list[float]:
    """Zero, then 1, 2 or 5 times powers of ten as far apart on the bar as ``gap``, which is a share of its length."""
    assert norm.vmax is not None
    first = math.floor(math.log10(norm.linear_width))
    decades = range(first, math.floor(math.log10(norm.vmax)) + 1) if norm.vmax > 0 else ()
    ticks = [0.0]
    for value in (step * 10.0**decade for decade in decades for step in (1, 2, 5)):
        if value <= norm.vmax and norm(value) - norm(ticks[-1]) >= gap:
            ticks.append(value)
    return ticks


def _probability_bars(axes: Axes, probabilities: Mapping[str, float]) -> None:
    names = list(probabilities)
    tints = colours(names)
    bars = axes.barh(names, [probabilities[n] for n in names], color=[tints[n] for n in names], height=0.42)
    axes.bar_label(bars, labels=[f"{probabilities[n]:.2f}" for n in names], padding=4)
    axes.set(xlim=(0, 1.3), xticks=[0, 0.5, 1], xlabel="probability")
    axes.invert_yaxis()
    axes.tick_params(left=False)
    axes.grid(False)
    axes.spines["left"].set_visible(False)


def _frameless(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[], facecolor=GREY)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.yaxis.label.set_color(BLACK)

"""Pictures of lenses and of what is behind them: asinh stretch, a scale bar in arcsec, a colour bar with its unit."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, CenteredNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from scipy.ndimage import gaussian_filter
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.data.sky import sky_rms
from arcformer.studies.style import BLACK, GREY, colours, figure

__all__ = [
    "SIGNED",
    "Layer",
    "amount_layer",
    "convergence_layer",
    "gallery",
    "image_grid",
    "light_layer",
    "portrait",
    "sigma_layer",
    "signed_layer",
]

BRIGHTNESS, SIGNED, AMOUNT = "inferno", "RdBu_r", "viridis"
FAINTEST = 3e-3
"""The stretch turns linear at this share of the peak, if not at a brighter noise."""

LEAST_SIGMAS = 5.0
"""A map of sigmas is drawn as far as this at least."""

SIDE = 1.45
"""Of a picture in a grid, inches."""

LETTERS = 16
"""Of a caption in an inch."""


@dataclass(frozen=True)
class Layer:
    """One quantity for each image: planes (B, H, W), not a number where masked, and how they are drawn."""

    planes: Tensor
    label: str
    norm: Normalize
    colours: str = BRIGHTNESS


def light_layer(images: Tensor, unit: str, mask: Tensor | None = None, *, of: str = "flux per pixel") -> Layer:
    """Images (B, C, H, W), the mean over their channels, all in one stretch."""
    planes = _white(images, mask)
    label = f"{of} [{unit}]" if unit else f"{of}, unit unknown"
    return Layer(planes, label, _stretch(planes))


def convergence_layer(planes: Tensor) -> Layer:
    """Convergence (B, H, W), which may be negative where a smooth part was taken away: white is zero."""
    size = planes.abs().flatten()
    largest = max(float(size.kthvalue(max(1, int(0.999 * len(size)))).values), 1e-12)
    return Layer(
        planes.float().cpu(),
        "convergence",
        AsinhNorm(linear_width=largest / 30, vmin=-largest, vmax=largest),
        SIGNED,
    )


def amount_layer(planes: Tensor, label: str) -> Layer:
    """Planes (B, H, W) of something that has no sign, from its least to its most."""
    seen = planes[planes.isfinite()]
    return Layer(planes.float().cpu(), label, Normalize(float(seen.min()), float(seen.max())), AMOUNT)


def signed_layer(planes: Tensor, label: str) -> Layer:
    """Planes (B, H, W) that speak for something or against it: white is zero."""
    most = max(float(planes.abs().max()), 1e-12)
    return Layer(planes.float().cpu(), label, CenteredNorm(halfrange=most), SIGNED)


def sigma_layer(planes: Tensor, label: str = "sigmas") -> Layer:
    """Planes (B, H, W) in standard deviations: white is zero, and what noise alone does stays pale."""
    size = planes.abs()
    size = size[size.isfinite()]
    most = float(size.kthvalue(max(1, round(0.999 * len(size)))).values) if len(size) else 0.0
    return Layer(planes.float().cpu(), label, CenteredNorm(halfrange=max(most, LEAST_SIGMAS)), SIGNED)


def image_grid(batch: LensBatch, behind: Sequence[Layer] = ()) -> Figure:
    """Images of each class in a row of their own, all in one stretch, and in the rows below what is behind them.

    A class without images has no row; images without classes are in one.
    """
    labels = torch.zeros(len(batch), dtype=torch.int64) if batch.labels is None else batch.labels
    names = batch.classes if batch.labels is not None else ("",)
    rows = {name: (labels == k).nonzero()[:, 0].tolist() for k, name in enumerate(names)}
    rows = {name: images for name, images in rows.items() if images}
    members, tints = list(rows.values()), colours(names)
    columns = max(map(len, members))
    layers = [light_layer(batch.images, batch.unit, batch.mask), *behind]
    drawn_layers: list[AxesImage | None] = [None] * len(layers)
    with figure(SIDE * columns + (0.9 if len(layers) == 1 else 1.1), SIDE * len(members) * len(layers)) as drawn:
        grid = drawn.subplots(len(members) * len(layers), columns, squeeze=False)
        for axes in grid.flat:
            _frameless(axes)
        for k, name in enumerate(rows):
            for at, layer in enumerate(layers):
                row = grid[k * len(layers) + at]
                for column, (axes, image) in enumerate(zip(row, members[k], strict=False)):
                    scale = _scale(batch, image) if column == at == 0 else None
                    drawn_layers[at] = _show(axes, layer, image, scale)
                if at == 0:
                    row[0].set_ylabel(name, color=tints[name], fontsize=11, fontweight="bold")
        for at, (layer, image) in enumerate(zip(layers, drawn_layers, strict=True)):
            if image is not None:
                if len(layers) == 1:
                    _colour_bar(drawn, image, list(grid.flat), layer.label)
                else:
                    for row in grid[at :: len(layers)]:
                        _colour_bar(drawn, image, list(row), layer.label, short=True)
    return drawn


def gallery(rows: Mapping[str, Sequence[LensBatch]]) -> Figure:
    """Images that need not be alike, batches of one, each in its own stretch and with its own scale bar."""
    columns = max(map(len, rows.values()))
    tints = colours(list(rows))
    with figure(SIDE * max(columns, 2), SIDE * len(rows)) as drawn:
        grid = drawn.subplots(len(rows), columns, squeeze=False)
        for axes in grid.flat:
            _frameless(axes)
        for line, (name, batches) in zip(grid, rows.items(), strict=True):
            for axes, batch in zip(line, batches, strict=False):
                _show(axes, light_layer(batch.images, batch.unit, batch.mask), 0, _scale(batch, 0))
            line[0].set_ylabel(name, color=tints[name], fontsize=11, fontweight="bold")
    return drawn


def portrait(
    batch: LensBatch,
    probabilities: Mapping[str, float] | None = None,
    maps: Sequence[Layer] = (),
    caption: str = "",
) -> Figure:
    """One image, a batch of one in physical units; beside it ``maps`` of it, on which its arcs are outlined, and the
    probability of each class; below it a caption."""
    pictures = 1 + len(maps)
    widths = [1.45] * pictures + [1.0] * bool(probabilities)
    width = (5.6 if probabilities else 3.6) + 3.3 * len(maps)
    lines = textwrap.wrap(caption, round(LETTERS * width))
    with figure(width, 3.1 + 0.15 * len(lines)) as drawn:
        panels = drawn.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0]
        light = light_layer(batch.images, batch.unit, batch.mask)
        for axes, layer in zip(panels[:pictures], (light, *maps), strict=True):
            _frameless(axes)
            shown = _show(axes, layer, 0, _scale(batch, 0) if layer is light else None)
            _colour_bar(drawn, shown, [axes], layer.label if layer is light else "")
            if layer is not light:
                axes.set_title(layer.label)
                _outline(axes, light)
        if probabilities:
            _probability_bars(panels[-1], probabilities)
        if lines:
            drawn.supxlabel("\n".join(lines), fontsize=8, x=0.01, ha="left")
    return drawn


def _show(axes: Axes, layer: Layer, image: int, pixel_scale: float | None) -> AxesImage:
    """One plane, north up as in FITS, masked pixels grey; with a pixel scale, how long an arcsec is."""
    pixels = layer.planes[image]
    axes.set_facecolor(GREY)
    shown = axes.imshow(np.ma.masked_invalid(pixels.numpy()), norm=layer.norm, cmap=layer.colours, origin="lower")
    if pixel_scale is not None:
        _scale_bar(axes, pixels.shape[-1], pixel_scale)
    return shown


def _outline(axes: Axes, light: Layer) -> None:
    """Where the first image is brighter than half of its stretch, smoothed a little: its arcs."""
    plane = gaussian_filter(np.nan_to_num(light.planes[0].numpy(), nan=light.norm.vmin or 0.0), 1)
    if plane.min() < (half := float(light.norm.inverse(0.5))) < plane.max():
        axes.contour(plane, [half], colors="white", linewidths=2.2)
        axes.contour(plane, [half], colors=BLACK, linewidths=0.9)


def _scale(batch: LensBatch, image: int) -> float | None:
    known = batch.pixel_scale is not None and bool(batch.pixel_scale[image].isfinite())
    return float(batch.pixel_scale[image]) if known else None  # pyright: ignore[reportOptionalSubscript]


def _white(images: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the channels, (B, H, W) on the CPU; not a number where any of them is masked."""
    images = images if mask is None else images.masked_fill(mask, torch.nan)
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


def _colour_bar(drawn: Figure, image: AxesImage, panels: list[Axes], label: str, *, short: bool = False) -> None:
    ticks = _ticks(image.norm, 0.15 if short else 0.07) if isinstance(image.norm, AsinhNorm) else None
    bar = drawn.colorbar(image, ax=panels, fraction=0.05, pad=0.02, ticks=ticks, format="%g")
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.minorticks_off()
    size = 8 if short else None
    bar.set_label(label, fontsize=size)
    bar.ax.tick_params(labelsize=size)


def _ticks(norm: AsinhNorm, gap: float) -> list[float]:
    """Zero, then 1, 2 or 5 times powers of ten as far apart on the bar as ``gap``, which is a share of its length.

    Where the bar goes as far below zero as above it, so do the ticks.
    """
    assert norm.vmax is not None
    assert norm.vmin is not None
    first = math.floor(math.log10(norm.linear_width))
    decades = range(first, math.floor(math.log10(norm.vmax)) + 1) if norm.vmax > 0 else ()
    ticks = [0.0]
    for value in (step * 10.0**decade for decade in decades for step in (1, 2, 5)):
        if value <= norm.vmax and norm(value) - norm(ticks[-1]) >= gap:
            ticks.append(value)
    mirrored = [-value for value in ticks[:0:-1] if norm.vmin == -norm.vmax]
    return mirrored + ticks


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
    axes.set(xticks=[], yticks=[], facecolor="none")
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.yaxis.label.set_color(BLACK)

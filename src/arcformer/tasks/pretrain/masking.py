"""Which cells of an image are hidden: masks of a fixed number of cells, drawn for each image.

B images, a grid of h x w cells whose side is ``stride`` pixels, N = h * w cells in all. The grid lies about the middle
of the image, as backbones lay it (``models/fitting.py``).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from arcformer.errors import InputError, near
from arcformer.models.fitting import centred
from arcformer.tasks.pretrain.draws import Draws

__all__ = ["Masks", "check_masks", "hide", "on_pixels"]

Masks = Literal["random", "arcs", "blocks"]

SKY = 0.25
"""Weight of a cell of sky under ``arcs``; that of a cell of mean brightness above the sky is 1 + SKY."""


def hide(
    images: Tensor, grid: tuple[int, int], stride: int, *, ratio: float, masks: Masks, draws: Draws
) -> tuple[Tensor, Tensor]:
    """Ids of the cells that stay, (B, K), and of those that are hidden, (B, M), M being ``ratio`` of all.

    ``random``: any cells (He et al. 2021, section 3). ``blocks``: connected ones, where a random field that is smooth
    over three cells is high; what is hidden then cannot be continued from next to it. ``arcs``: drawn one after
    another without putting back, by how much brighter than the median cell each is: most of an image is sky, in which
    there is nothing to predict.

    Args:
        images: (B, C, H, W), looked at for ``arcs`` only.
        draws: a mask is a function of them and, for ``arcs``, of its image.

    Raises:
        InputError: fewer than two cells.
    """
    cells = grid[0] * grid[1]
    if cells < 2:
        raise InputError(
            f"images of {images.shape[-2]} x {images.shape[-1]} pixels hold {cells} cell of {stride}: nothing to hide; "
            "take a smaller patch or cell, or larger images"
        )
    hidden = min(max(1, round(ratio * cells)), cells - 1)
    drawn = draws.uniform(len(images), cells, device=images.device)
    if masks == "blocks":
        field = drawn.unflatten(1, (1, *grid))
        drawn = F.avg_pool2d(field, 3, stride=1, padding=1, count_include_pad=False).flatten(1)
    elif masks == "arcs":  # the largest of log weight + Gumbel numbers are such draws (Efraimidis & Spirakis 2006)
        bright = _cell_means(images, grid, stride)
        bright = (bright - bright.median(1, keepdim=True).values).clamp_min(0)
        weight = SKY + bright / bright.mean(1, keepdim=True).clamp_min(1e-6)
        drawn = weight.log() - (-drawn.clamp(1e-7, 1 - 1e-7).log()).log()
    order = drawn.argsort(1, descending=True)
    return order[:, hidden:], order[:, :hidden]


def on_pixels(cells: Tensor, grid: tuple[int, int], stride: int, height: int, width: int) -> Tensor:
    """Whether a pixel lies in one of the ``cells`` (B, M), as (B, 1, height, width)."""
    chosen = torch.zeros(len(cells), grid[0] * grid[1], device=cells.device).scatter(1, cells, 1.0)
    planes = chosen.unflatten(1, (1, *grid)).repeat_interleave(stride, 2).repeat_interleave(stride, 3)
    return centred(planes, height, width) > 0


def check_masks(ratio: float, masks: str) -> None:
    """Raise ``InputError`` unless ``ratio`` is a share between 0 and 1 and there are such masks."""
    if not 0 < ratio < 1:
        raise InputError(f"ratio is the share of an image that is hidden, between 0 and 1, got {ratio}")
    if masks not in get_args(Masks):
        raise InputError(f"unknown masks {masks!r}: {near(masks, get_args(Masks))}")


def _cell_means(images: Tensor, grid: tuple[int, int], stride: int) -> Tensor:
    """(B, N)."""
    planes = centred(images.mean(1, keepdim=True), grid[0] * stride, grid[1] * stride)
    return F.avg_pool2d(planes, stride).flatten(1)

"""The noise of the sky, measured in an image itself."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["sky_rms"]


def sky_rms(images: Tensor, mask: Tensor | None = None) -> Tensor:
    """Robust standard deviation (B, C) of the pixel noise of images (B, C, H, W), in their unit.

    From the median absolute difference between the diagonals of every 2 x 2 block: a level, a slope and most of the
    light of a lens cancel in it. Noise that is correlated between pixels, as after drizzling, is underestimated.
    Pixels where ``mask`` is True do not count; NaN where none are left.
    """
    if mask is not None:
        images = images.masked_fill(mask, torch.nan)
    block = images[..., :-1, :-1] + images[..., 1:, 1:] - images[..., :-1, 1:] - images[..., 1:, :-1]
    return 1.4826 / 2 * block.flatten(2).abs().nanmedian(dim=2).values

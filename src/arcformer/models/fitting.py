"""What every backbone does to images before it looks at them: count their channels, make their sides fit its patch."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from arcformer.errors import InputError

__all__ = ["check_channels", "fit"]


def check_channels(name: str, images: Tensor, channels: int) -> None:
    """Raise ``InputError`` unless ``images`` (B, C, H, W) have the channels that the backbone was built for."""
    if images.shape[1] != channels:
        raise InputError(f"{name} was built for {channels} channel(s), the images have {images.shape[1]}")


def fit(images: Tensor, patch: int, uneven: Literal["pad", "crop"] = "pad") -> Tensor:
    """``images`` (B, C, H, W) with sides that are multiples of ``patch``, padded with zeros or cropped on all sides.

    Both ways keep the centre, where the lens is.

    Raises:
        InputError: for images smaller than a patch that are to be cropped.
    """
    height, width = images.shape[-2:]
    if uneven == "crop":
        if min(height, width) < patch:
            raise InputError(f"an image of {height} x {width} pixels holds no patch of {patch}; pad it")
        over = (height % patch, width % patch)
        return images[..., over[0] // 2 : height - (over[0] + 1) // 2, over[1] // 2 : width - (over[1] + 1) // 2]
    lack = (-height % patch, -width % patch)
    if lack == (0, 0):
        return images
    return F.pad(images, (lack[1] // 2, (lack[1] + 1) // 2, lack[0] // 2, (lack[0] + 1) // 2))

"""What every backbone does to images before it looks at them: count their channels, make their sides fit its patch."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from arcformer.errors import InputError

__all__ = ["centred", "check_channels", "fit"]


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
        return centred(images, height - height % patch, width - width % patch)
    return centred(images, height + -height % patch, width + -width % patch)


def centred(images: Tensor, height: int, width: int) -> Tensor:
    """``images`` (..., H, W) with sides ``height`` and ``width``, cropped or padded with zeros on all sides.

    Of an odd number of pixels the greater half is at the end. Calling it with the sides of before undoes it, but for
    what was cropped.
    """
    lack = (height - images.shape[-2], width - images.shape[-1])
    if lack == (0, 0):
        return images
    top, left = (n // 2 if n >= 0 else -(-n // 2) for n in lack)
    return F.pad(images, (left, lack[1] - left, top, lack[0] - top))

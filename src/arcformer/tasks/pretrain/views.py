"""Views: the same lens seen again, in another position, through another atmosphere, with other noise.

Nothing here changes what a lens is. Never zoom or crop: they change the Einstein radius, and a crop may cut the arc
that holds the substructure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from arcformer.batch import LensBatch
from arcformer.data.sky import sky_rms
from arcformer.data.symmetry import Symmetries, Turns, check_square
from arcformer.errors import InputError
from arcformer.tasks.pretrain.draws import Draws

__all__ = ["Views"]

MARGIN = 4
"""Pixels by which images are continued before they are blurred and moved, which is done on a torus."""


@dataclass(frozen=True)
class Views:
    """Draws a view of every image: turned, moved by a part of a pixel, blurred, and noisier.

    Blur and shift are one multiplication in Fourier space, so that a shift needs no interpolation, which would smooth.
    They act on what the network sees, the scaled image, and are as they would be on the sky where that is linear.

    Attributes:
        symmetries: of the square, as for ``data.augment.dihedral``.
        blur: greatest width of the Gaussian, its standard deviation in pixels.
        shift: greatest shift on each axis, pixels.
        noise: greatest standard deviation of the noise that is added, over that of the image: its ``noise_std`` where
            there is one, else that of its sky.

    Raises:
        InputError: a negative number, or a blur or a shift beyond the margin.
    """

    symmetries: Symmetries = "dihedral"
    blur: float = 1.0
    shift: float = 0.5
    noise: float = 1.0

    def __post_init__(self) -> None:
        for name, most in (("blur", MARGIN / 2), ("shift", 1.0), ("noise", math.inf)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise InputError(f"views: {name} is {value}, expected a number from 0 to {most:g}")

    def __call__(self, batch: LensBatch, draws: Draws) -> Tensor:
        """One view of each image, (B, C, H, W), made on its device.

        Raises:
            InputError: images that are not square, unless ``symmetries`` is ``none`` or ``half-turn``.
        """
        images = self._seen(self._turned(batch.images.float(), draws), draws)
        if not self.noise:
            return images
        level = batch.noise_std
        if level is None:
            level = sky_rms(batch.images.float(), batch.mask).nan_to_num()[..., None, None]
        strength = self.noise * draws.uniform(len(images), 1, 1, 1, device=images.device)
        return images + strength * level * draws.normal(*images.shape, device=images.device)

    def _turned(self, images: Tensor, draws: Draws) -> Tensor:
        if self.symmetries == "none":
            return images
        swap, up, left = (draws.uniform(len(images), 3, device=images.device) < 0.5).unbind(1)
        if self.symmetries == "half-turn":
            return Turns(None, up, up).planes(images)
        check_square(images)
        return Turns(swap, up, left).planes(images)

    def _seen(self, images: Tensor, draws: Draws) -> Tensor:
        """Blurred and moved."""
        if not (self.blur or self.shift):
            return images
        drawn = draws.uniform(len(images), 3, 1, 1, 1, device=images.device)
        width, (dy, dx) = self.blur * drawn[:, 0], (self.shift * (2 * drawn[:, i] - 1) for i in (1, 2))
        padded = F.pad(images, (MARGIN,) * 4, mode="replicate")
        height, side = padded.shape[-2:]
        fy = torch.fft.fftfreq(height, device=images.device)[:, None]
        fx = torch.fft.rfftfreq(side, device=images.device)
        fall = torch.exp(-2 * (math.pi * width) ** 2 * (fy**2 + fx**2))
        phase = -2 * math.pi * (fy * dy + fx * dx)
        seen = torch.fft.irfft2(torch.fft.rfft2(padded) * torch.polar(fall, phase), s=(height, side))
        return seen[..., MARGIN:-MARGIN, MARGIN:-MARGIN]

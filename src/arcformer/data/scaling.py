"""Flux scalings: from physical units to numbers of order one, and exactly back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Scaling", "Stretch"]

Scaling = Literal["asinh", "noise", "linear", "none", "minmax"]


@dataclass(frozen=True)
class Stretch:
    """scaled = (f((image - zero) / unit) - offset) / scale, with f(u) = asinh(u / softening), or f(u) = u without one.

    asinh is linear below the softening and logarithmic above it (Lupton, Gunn & Szalay 1999).

    Attributes:
        zero, unit: (B,), what each image is measured from and in.
        softening: in ``unit``; None: linear.
        offset, scale: the same for all images.
    """

    zero: Tensor
    unit: Tensor
    softening: float | None = None
    offset: float = 0.0
    scale: float = 1.0

    def scaled(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W), scaled."""
        u = (images - _column(self.zero)) / _column(self.unit)
        return ((u if self.softening is None else torch.asinh(u / self.softening)) - self.offset) / self.scale

    def physical(self, scaled: Tensor) -> Tensor:
        """The images that ``scaled`` makes these of."""
        u = scaled * self.scale + self.offset
        u = u if self.softening is None else torch.sinh(u) * self.softening
        return u * _column(self.unit) + _column(self.zero)

    def slope(self, scaled: Tensor) -> Tensor:
        """d scaled / d image at these values of ``scaled``: what a small error is multiplied with."""
        slope = 1 / (_column(self.unit) * self.scale)
        if self.softening is not None:
            slope = slope / (self.softening * torch.cosh(scaled * self.scale + self.offset))
        return slope.expand_as(scaled)


def _column(values: Tensor) -> Tensor:
    return values[:, None, None, None]

"""Where an objective's random numbers come from: masks and views are functions of images and of these."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

__all__ = ["Draws"]


@dataclass(frozen=True)
class Draws:
    """Random numbers for a batch, made on its device.

    In training they are torch's own, which training seeds for every step. In prediction they are ``fixed``: the same at
    every call, and alike for all images, so that what is said of an image does not depend on those beside it.

    Attributes:
        generator: None: the global one of the device.
        alike: whether every image gets the same numbers.
    """

    generator: Generator | None = None
    alike: bool = False

    @classmethod
    def fixed(cls, device: torch.device, seed: int = 0) -> Draws:
        """Those of a prediction."""
        return cls(Generator(device).manual_seed(seed), alike=True)

    def uniform(self, images: int, *shape: int, device: torch.device) -> Tensor:
        """(images, *shape) in [0, 1)."""
        drawn = torch.rand(1 if self.alike else images, *shape, generator=self.generator, device=device)
        return drawn.expand(images, *shape)

    def normal(self, images: int, *shape: int, device: torch.device) -> Tensor:
        """(images, *shape) of mean 0 and variance 1."""
        drawn = torch.randn(1 if self.alike else images, *shape, generator=self.generator, device=device)
        return drawn.expand(images, *shape)

"""Small batches for the tests of objectives: an arc of light on a sky of noise, and small networks."""

from __future__ import annotations

import torch

from arcformer.batch import LensBatch
from arcformer.models import ResNet, VisionTransformer

CLASSES = ("no_sub", "cdm", "axion")
SIDE = 16


def vit(side: int = SIDE, **options) -> VisionTransformer:
    small = {"dim": 32, "depth": 2, "heads": 2, "patch": 4, "stem": "patch"}
    return VisionTransformer(side, 1, **(small | options))


def resnet() -> ResNet:
    return ResNet(SIDE, 1, width=8, depths=(1, 1))


def arcs(images: int = 6, side: int = SIDE, seed: int = 0) -> LensBatch:
    """Rings of light of radius 5 pixels, brighter on one side, and noise of 0.1."""
    rng = torch.Generator().manual_seed(seed)
    axis = torch.arange(side) - (side - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    angle = 2 * torch.pi * torch.rand(images, 1, 1, 1, generator=rng)
    light = torch.exp(-((torch.hypot(x, y) - 5) ** 2)) * (1 + torch.cos(torch.atan2(y, x) - angle))
    noise = torch.randn(images, 1, side, side, generator=rng)
    return LensBatch(
        images=light + 0.1 * noise,
        labels=torch.arange(images) % 3,
        classes=CLASSES,
        noise_std=torch.full((images, 1, side, side), 0.1),
        extras={"clean": light, "source_x": angle.cos().flatten().double(), "theta_E": torch.ones(images).double()},
    )

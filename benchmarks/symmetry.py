"""The eight symmetries of the square, by torch's own functions, and how far a backbone is from keeping them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from arcformer.models import Backbone

__all__ = ["equivariance_error", "invariance_error", "random_weights", "turned"]

M = TypeVar("M", bound=nn.Module)


def turned(x: Tensor) -> Iterator[Tensor]:
    """The eight symmetries of the last two axes."""
    for plane in (x, x.mT):
        for quarters in range(4):
            yield torch.rot90(plane, quarters, (-2, -1))


def random_weights(model: M) -> M:
    """Every weight, norm and bias of order 0.1: at their initial values zeros and ones could hide a fault."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@torch.no_grad()
def equivariance_error(backbone: Backbone, images: Tensor) -> float:
    """How far the map of turned images is from the turned map, the worst of eight, relative to its largest value."""
    whole = backbone(images)[0].x
    gaps = [(backbone(t)[0].x - w).abs().max() for t, w in zip(turned(images), turned(whole), strict=True)]
    return float(torch.stack(gaps).max() / whole.abs().max())


@torch.no_grad()
def invariance_error(backbone: Backbone, images: Tensor) -> float:
    """How far the mean over the cells of turned images is from that of the images, likewise."""
    means = torch.stack([backbone(each)[0].x.mean((2, 3)) for each in turned(images)])
    return float((means - means[0]).abs().max() / means[0].abs().max())

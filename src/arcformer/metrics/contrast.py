"""NT-Xent, the loss of SimCLR (Chen et al. 2020, arXiv 2002.05709, eq. 1), of a batch and of a whole set."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

__all__ = ["NTXent", "nt_xent"]


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The loss (B,) of each image, nats: of picking its other view, by cosine, among all views of all images.

    Args:
        first, second: (B, E), two views of each image, of unit length.
        temperature: what cosines are divided by.
    """
    z = torch.cat([first, second])
    cosine = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    images = len(first)
    other = torch.arange(2 * images, device=z.device).roll(images)
    return F.cross_entropy(cosine, other, reduction="none").unflatten(0, (2, images)).mean(0)


class NTXent(Metric):
    """NT-Xent over all images; ``update`` takes two views (B, E) each of unit length.

    So that it does not depend on how they come in batches, the images are compared in groups of ``group``, in order.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    first: list[Tensor]
    second: list[Tensor]

    def __init__(self, temperature: float, *, group: int = 1024, **kwargs: Any):
        super().__init__(**kwargs)
        self.temperature, self.group = temperature, group
        self.add_state("first", [], dist_reduce_fx="cat")
        self.add_state("second", [], dist_reduce_fx="cat")

    def update(self, first: Tensor, second: Tensor) -> None:
        self.first.append(first.float())
        self.second.append(second.float())

    def compute(self) -> Tensor:
        groups = zip(*(dim_zero_cat(views).split(self.group) for views in (self.first, self.second)), strict=True)
        return torch.cat([nt_xent(a, b, self.temperature) for a, b in groups]).mean()

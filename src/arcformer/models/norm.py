"""Normalisation of feature maps: over the batch, or over groups of channels of each image."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["NORMS", "BatchNorm", "GroupNorm"]


class BatchNorm(nn.BatchNorm2d):
    """Over the batch (Ioffe & Szegedy 2015, arXiv 1502.03167), (B, D, h, w) to the same.

    One image with a single cell has no variance; there, training too takes the running statistics, so that the last
    batch of an epoch or an image as small as the stride does not end a run.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.numel() == input.shape[1]:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)


class GroupNorm(nn.GroupNorm):
    """Over at most 32 groups of channels of each image alone (Wu & He 2018, arXiv 1803.08494)."""

    def __init__(self, dim: int):
        super().__init__(math.gcd(32, dim), dim)


NORMS = {"batch": BatchNorm, "group": GroupNorm}

"""What turns feature maps into numbers and into images."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.errors import InputError
from arcformer.models.backbone import FeatureMap
from arcformer.models.fitting import centred

__all__ = ["PixelHead", "PoolHead"]


class PoolHead(nn.Module):
    """One vector per image from the last feature map, then a linear layer.

    Args:
        dim: channels of the feature map, ``Backbone.dim``.
        outputs: numbers per image.
        pool: ``mean`` over the cells, or ``attention``: a mean weighted by a softmax over the cells that is learned.
        dropout: probability of dropping a component of the pooled vector in training.

    Shape: list of ``FeatureMap`` to (B, outputs).
    """

    def __init__(self, dim: int, outputs: int, *, pool: Literal["mean", "attention"] = "mean", dropout: float = 0.0):
        super().__init__()
        if not 0 <= dropout < 1:
            raise InputError(f"dropout is a probability in [0, 1), got {dropout}")
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.query = nn.Linear(dim, 1, bias=False) if pool == "attention" else None
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(dim, outputs)
        nn.init.trunc_normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)
        if self.query is not None:
            nn.init.zeros_(self.query.weight)  # begins as the mean

    def forward(self, features: list[FeatureMap]) -> Tensor:
        x = self.norm(features[-1].x.flatten(2).transpose(1, 2))  # (B, N, D)
        return self.linear(self.dropout(self._pool(x)))

    def _pool(self, x: Tensor) -> Tensor:
        if self.query is None:
            return x.mean(1)
        weights = self.query(x).softmax(1)  # (B, N, 1)
        return torch.matmul(weights.transpose(1, 2), x)[:, 0]


class PixelHead(nn.Module):
    """An image from the last feature map: a linear map of each cell to its own pixels.

    Args:
        dim: channels of the feature map, ``Backbone.dim``.
        channels: of the image.
        stride: of the feature map.

    Shape: list of ``FeatureMap`` to (B, channels, height, width), the middle of the image on that of the map.
    """

    def __init__(self, dim: int, channels: int, stride: int):
        super().__init__()
        self.stride = stride
        self.linear = nn.Conv2d(dim, channels * stride**2, 1)
        nn.init.trunc_normal_(self.linear.weight, std=0.02)
        if self.linear.bias is not None:
            nn.init.zeros_(self.linear.bias)

    def forward(self, features: list[FeatureMap], height: int, width: int) -> Tensor:
        return centred(F.pixel_shuffle(self.linear(features[-1].x), self.stride), height, width)

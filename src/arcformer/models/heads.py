"""What turns feature maps into numbers and into images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.errors import InputError
from arcformer.models.backbone import FeatureMap
from arcformer.models.fitting import centred

__all__ = ["FineHead", "PixelHead", "PoolHead"]


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


class FineHead(nn.Module):
    """An image at ``factor`` times the resolution from feature maps of any strides, by shuffles of pixels.

    From the coarsest map on, the cells of each become those of the next finer one (Shi et al. 2016, arXiv 1609.05158),
    which is seen beside them, down to the pixels of the image, and at the end these become finer ones. A network that
    looks at patches has no map of pixels; there the image itself stands in for it. Maps whose stride does not divide
    that of the coarser one are passed over.

    At first it gives zeros.

    Args:
        maps: channels and stride of each feature map, finest first.
        channels: of the image that the backbone sees.
        outputs: channels of the finer image.
        factor: pixels of the finer image for each of the image, on each axis.
        width: channels between the coarsest map and the end.

    Shape: list of ``FeatureMap`` and (B, channels, H, W) to (B, outputs, factor H, factor W).
    """

    def __init__(self, maps: Sequence[tuple[int, int]], channels: int, outputs: int, factor: int, *, width: int = 32):
        super().__init__()
        self.factor = factor
        self.used, self.ratios = [len(maps) - 1], list[int]()
        dim, stride = maps[-1]
        self.shuffles, self.joins = nn.ModuleList(), nn.ModuleList()
        finer = [(k, *maps[k]) for k in reversed(range(len(maps) - 1))]
        for k, beside, step in [*finer, *([(-1, width, 1)] if maps[0][1] > 1 else [])]:
            if stride % step:
                continue
            ratio = stride // step
            self.shuffles.append(nn.Conv2d(dim, width * ratio**2, 1))
            self.joins.append(nn.Conv2d(width + beside, width, 3, padding=1))
            self.used.append(k)
            self.ratios.append(ratio)
            dim, stride = width, step
        self.shallow = nn.Conv2d(channels, width, 3, padding=1) if -1 in self.used else None
        self.last = nn.Conv2d(dim, outputs * factor**2, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, features: list[FeatureMap], images: Tensor) -> Tensor:
        x = features[self.used[0]].x
        for k, ratio, shuffle, join in zip(self.used[1:], self.ratios, self.shuffles, self.joins, strict=True):
            beside = F.gelu(self.shallow(images)) if k < 0 and self.shallow is not None else features[k].x
            finer = F.pixel_shuffle(shuffle(x), ratio)
            x = F.gelu(join(torch.cat([centred(finer, *beside.shape[-2:]), beside], 1)))
        return F.pixel_shuffle(self.last(centred(x, *images.shape[-2:])), self.factor)

"""The residual channel attention network (RCAN; Zhang et al. 2018, arXiv 1807.02758): super-resolution's CNN yardstick.

Groups of blocks of two convolutions and channel attention, each group with a way around it and another around all. It
is what published work on lens images reports the best numbers with, so that what a transformer gains can be said
against it, under the same contract, recipe and data.

Shapes: B images, C channels, H x W pixels, width D.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.errors import InputError, chosen
from arcformer.models.backbone import BACKBONES, Backbone, FeatureMap
from arcformer.models.fitting import check_channels
from arcformer.models.swinir import ChannelAttention

__all__ = ["RCAN", "SIZES", "Size"]


@dataclass(frozen=True)
class Size:
    """What a name stands for where nothing else is said."""

    dim: int
    groups: int
    depth: int


SIZES = {"tiny": Size(dim=24, groups=3, depth=5), "rcan": Size(dim=64, groups=10, depth=20)}
"""Sizes by name: ``rcan`` is the paper's; ``tiny`` is for CPUs."""


@BACKBONES.register("rcan")
class RCAN(Backbone):
    """Residual groups of convolutions with channel attention: one feature map of stride 1, for images of any size.

    Args:
        image_size: side of most images, pixels; nothing depends on it.
        channels: number of channels of the images.
        size: ``tiny`` (0.2 M parameters) or ``rcan`` (15 M, the published one); ``dim``, ``groups`` and ``depth`` each
            override it.
        dim: width.
        groups: number of groups.
        depth: number of blocks of each group.

    Raises:
        InputError: for sizes that are not positive.
    """

    def __init__(
        self,
        image_size: int,
        channels: int,
        *,
        size: Literal["tiny", "rcan"] = "tiny",
        dim: int | None = None,
        groups: int | None = None,
        depth: int | None = None,
    ):
        super().__init__()
        preset = chosen(SIZES, size, "size of rcan")
        dim = preset.dim if dim is None else dim
        groups = preset.groups if groups is None else groups
        depth = preset.depth if depth is None else depth
        if min(dim, groups, depth) < 1:
            raise InputError(f"rcan: sizes must be positive, got {dim=}, {groups=}, {depth=}")
        self.channels, self.dim = channels, dim
        self.stem = _conv(channels, dim)
        self.groups = nn.ModuleList(Group(dim, depth) for _ in range(groups))
        self.last = _conv(dim, dim)

    def features(self, images: Tensor, context: Tensor | None = None) -> list[FeatureMap]:
        """One feature map of ``images`` (B, C, H, W), (B, D, H, W); ``context`` is not looked at.

        Raises:
            InputError: for another number of channels.
        """
        check_channels("rcan", images, self.channels)
        x = shallow = self.stem(images)
        for group in self.groups:
            x = group(x)
        return [FeatureMap(shallow + self.last(x), 1)]


class Group(nn.Module):
    """Blocks and a convolution, and a way around all of it."""

    def __init__(self, dim: int, depth: int):
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim) for _ in range(depth))
        self.conv = _conv(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W) to the same."""
        y = x
        for block in self.blocks:
            y = block(y)
        return x + self.conv(y)


class Block(nn.Module):
    """Two convolutions and channel attention, and a way around them."""

    def __init__(self, dim: int):
        super().__init__()
        self.first, self.second = _conv(dim, dim), _conv(dim, dim)
        self.attention = ChannelAttention(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W) to the same."""
        return x + self.attention(self.second(F.relu(self.first(x))))


def _conv(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1)

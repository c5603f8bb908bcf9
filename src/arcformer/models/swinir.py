"""SwinIR (Liang et al. 2021, arXiv 2108.10257): a Swin Transformer at the resolution of the image, for restoring it.

Groups of blocks, each with a convolution at its end and a way around it, on a grid whose cells are the pixels. The
blocks are those of the Swin Transformer V2, as in Swin2SR (Conde et al. 2022, arXiv 2209.11345). With channel attention
a small convolutional branch that weighs channels by their mean over the whole image stands beside the attention of
every block, as in HAT (Chen et al. 2023, arXiv 2205.04437): so what lies outside a window is known inside it.

The interpolation around the network, and the shuffle of pixels at its end, are the task's.

Shapes: B images, C channels, H x W pixels, width D. Inside, the width comes last: (B, H, W, D).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.errors import chosen
from arcformer.models.attention import Attended, averaged, evenly, within
from arcformer.models.backbone import BACKBONES, Backbone, FeatureMap
from arcformer.models.fitting import check_channels
from arcformer.models.windows import Stage, check_stages, initialise

__all__ = ["SIZES", "ChannelAttention", "Size", "SwinIR"]


@dataclass(frozen=True)
class Size:
    """What a name stands for where nothing else is said."""

    dim: int
    depths: tuple[int, ...]
    heads: int
    window: int
    mlp_ratio: float


SIZES = {
    "tiny": Size(dim=32, depths=(2, 2), heads=2, window=5, mlp_ratio=2.0),
    "light": Size(dim=60, depths=(6, 6, 6, 6), heads=6, window=8, mlp_ratio=2.0),
    "small": Size(dim=180, depths=(6, 6, 6, 6, 6, 6), heads=6, window=8, mlp_ratio=2.0),
}
"""Sizes by name: ``light`` and ``small`` are the paper's lightweight and classical networks; ``tiny`` is for CPUs."""


@BACKBONES.register("swinir")
class SwinIR(Backbone):
    """A Swin Transformer whose cells are pixels: one feature map of stride 1, for images of any size.

    Where the window does not divide the image, the grid is padded, and no pixel sees what was added.

    Args:
        image_size: side of most images, pixels. Windows are no larger.
        channels: number of channels of the images.
        size: ``tiny`` (0.07 M parameters), ``light`` (1 M) or ``small`` (11 M); ``dim``, ``depths``, ``heads``,
            ``window`` and ``mlp_ratio`` each override it.
        dim: width.
        depths: number of blocks of each group.
        heads: number of heads.
        window: side of a window, pixels.
        mlp_ratio: hidden width of the perceptrons, in units of the width.
        channel_attention: whether a branch with channel attention stands beside the attention of each block.
        drop_path: probability with which the last block is skipped in training, per image; earlier ones in proportion.

    Raises:
        InputError: for options that do not fit together.
    """

    def __init__(
        self,
        image_size: int,
        channels: int,
        *,
        size: Literal["tiny", "light", "small"] = "tiny",
        dim: int | None = None,
        depths: tuple[int, ...] | None = None,
        heads: int | None = None,
        window: int | None = None,
        mlp_ratio: float | None = None,
        channel_attention: bool = False,
        drop_path: float = 0.0,
    ):
        super().__init__()
        preset = chosen(SIZES, size, "size of swinir")
        dim = preset.dim if dim is None else dim
        depths = preset.depths if depths is None else tuple(depths)
        heads = preset.heads if heads is None else heads
        window = preset.window if window is None else window
        mlp_ratio = preset.mlp_ratio if mlp_ratio is None else mlp_ratio
        groups = len(depths)
        check_stages("swinir", [dim] * groups, depths, [heads] * groups, window, mlp_ratio, drop_path)
        self.channels, self.dim, self.depths = channels, dim, depths
        self.stem = nn.Conv2d(channels, dim, 3, padding=1)
        rates = [drop_path * (i + 1) / sum(depths) for i in range(sum(depths))]
        beside = (lambda: Beside(dim)) if channel_attention else None
        self.groups = nn.ModuleList(
            Group(dim, heads, min(window, image_size), int(mlp_ratio * dim), [rates.pop(0) for _ in range(n)], beside)
            for n in depths
        )
        self.norm = nn.LayerNorm(dim)
        self.last = nn.Conv2d(dim, dim, 3, padding=1)
        self.apply(initialise)

    def features(self, images: Tensor, context: Tensor | None = None) -> list[FeatureMap]:
        """One feature map of ``images`` (B, C, H, W), (B, D, H, W); ``context`` is not looked at.

        Raises:
            InputError: for another number of channels.
        """
        check_channels("swinir", images, self.channels)
        shallow = self.stem(images)
        x = shallow.permute(0, 2, 3, 1)
        for group in self.groups:
            x = group(x)
        return [FeatureMap(shallow + self.last(self.norm(x).permute(0, 3, 1, 2)), 1)]

    def trace(self, layers: Sequence[Attended], maps: Sequence[FeatureMap]) -> list[FeatureMap]:
        """See ``Traceable``: through the windows of each block; a convolution counts the pixels that it sees alike.

        Half of what leaves a group, and of what leaves the network, came around its convolution.
        """
        grid, left = maps[-1].grid, list(layers)
        whole = evenly(maps[-1])
        shares = _blurred(whole, grid)
        for group in reversed(self.groups):
            after, shares = shares, _blurred(shares, grid)
            stage: Stage = group.stage  # pyright: ignore[reportAssignmentType]
            for cells in reversed(stage.windows(grid, shares.device)):
                shares = within(shares, left.pop(), cells)
            shares = (after + shares) / 2
        return [FeatureMap(((whole + shares) / 2).unflatten(1, (1, *grid)), 1)]


class Group(nn.Module):
    """Blocks and a 3 x 3 convolution, and a way around all of it: a residual Swin group."""

    def __init__(
        self,
        dim: int,
        heads: int,
        window: int,
        mlp: int,
        rates: Sequence[float],
        beside: Callable[[], nn.Module] | None,
    ):
        super().__init__()
        self.stage = Stage(dim, heads, window, mlp, rates, beside=beside)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, D) to the same."""
        return x + self.conv(self.stage(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ChannelAttention(nn.Module):
    """Channels weighed by what their means over the image say (Zhang et al. 2018, arXiv 1807.02758, eq. 6 to 8).

    Args:
        dim: channels.
        squeeze: by which the perceptron in between is narrower, if that leaves it a width of four.

    Shape: (B, D, H, W) to the same.
    """

    def __init__(self, dim: int, squeeze: int = 16):
        super().__init__()
        narrow = max(4, dim // squeeze)
        self.down, self.up = nn.Conv2d(dim, narrow, 1), nn.Conv2d(narrow, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.up(F.gelu(self.down(x.mean((2, 3), keepdim=True)))).sigmoid()


class Beside(nn.Module):
    """Two 3 x 3 convolutions, narrow in between, and channel attention, at first a hundredth of it (HAT, eq. 3)."""

    def __init__(self, dim: int):
        super().__init__()
        narrow = max(1, dim // 3)
        self.narrow, self.wide = nn.Conv2d(dim, narrow, 3, padding=1), nn.Conv2d(narrow, dim, 3, padding=1)
        self.attention = ChannelAttention(dim)
        self.share = nn.Parameter(torch.tensor(0.01))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, D) to the same."""
        seen = self.attention(self.wide(F.gelu(self.narrow(x.permute(0, 3, 1, 2)))))
        return self.share * seen.permute(0, 2, 3, 1)


def _blurred(shares: Tensor, grid: tuple[int, int]) -> Tensor:
    return averaged(shares, grid, kernel=3, stride=1, padding=1)

"""The convolutional vision transformer (CvT; Wu et al. 2021, arXiv 2103.15808).

Three stages, each on a coarser grid than the last. A strided convolution whose windows overlap makes the tokens of a
stage; in its blocks a depthwise convolution looks at the neighbours of each cell before the linear maps to queries,
keys and values, with stride 2 for the latter two, which makes attention four times cheaper. The convolutions know
where cells are, so there are no positions, and images of any size will do. There is no class token; a head pools the
last map.

Shapes: B images, C channels, H x W pixels, a grid of h x w cells, N = h w tokens of width D, K heads of width E.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.errors import InputError, chosen
from arcformer.models.attention import Attended, attended, averaged, evenly
from arcformer.models.backbone import BACKBONES, Backbone, FeatureMap
from arcformer.models.fitting import check_channels
from arcformer.models.norm import NORMS
from arcformer.models.vit import Block, attend, initialise, skip

__all__ = ["SIZES", "ConvolutionalVisionTransformer"]


class Size(TypedDict):
    dims: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]


SIZES: dict[str, Size] = {
    "tiny": {"dims": (32, 64, 128), "depths": (1, 2, 4), "heads": (1, 2, 4)},
    "small": {"dims": (64, 192, 384), "depths": (1, 2, 10), "heads": (1, 3, 6)},
}
"""Width, number of blocks and heads of each stage by name; ``small`` is CvT-13 of the paper."""

SQUEEZE = 2
"""Stride of the convolutions in front of keys and values, on each axis."""


@BACKBONES.register("cvt")
class ConvolutionalVisionTransformer(Backbone):
    """A hierarchical transformer whose tokens, queries, keys and values come from convolutions.

    ``features`` gives a map for each stage, with strides ``patch``, 2 ``patch``, 4 ``patch``, ... and widths ``dims``.
    Only the last is normalised: a norm of its own for each of the others would be left untrained by heads that look at
    the last alone.

    Args:
        image_size: side of most images, pixels; nothing depends on it.
        channels: number of channels of the images.
        size: ``tiny`` (1.0 M parameters) or ``small`` (20 M, CvT-13); ``dims``, ``depths`` and ``heads``, one number
            for each stage, override it.
        patch: stride of the first convolution, pixels; its kernel is 2 ``patch`` - 1 wide, 7 for 4 as in the paper.
        mlp: hidden width of the perceptrons over that of the tokens.
        norm: after the depthwise convolutions: ``batch`` as in the paper, or ``group``, over each image alone.
        drop_path: probability with which the last block is skipped in training, per image; earlier ones in proportion.

    Raises:
        InputError: for options that do not fit together.
    """

    def __init__(
        self,
        image_size: int,
        channels: int,
        *,
        size: Literal["tiny", "small"] = "tiny",
        dims: tuple[int, ...] | None = None,
        depths: tuple[int, ...] | None = None,
        heads: tuple[int, ...] | None = None,
        patch: int = 4,
        mlp: int = 4,
        norm: Literal["batch", "group"] = "batch",
        drop_path: float = 0.0,
    ):
        super().__init__()
        preset = chosen(SIZES, size, "size of cvt")
        dims = tuple(dims or preset["dims"])
        depths = tuple(depths or preset["depths"])
        heads = tuple(heads or preset["heads"])
        if not len(dims) == len(depths) == len(heads):
            raise InputError(f"cvt: give one number a stage in each, got {dims=}, {depths=}, {heads=}")
        if min(*dims, *depths, *heads, patch, mlp) < 1:
            raise InputError(f"cvt: sizes must be positive, got {dims=}, {depths=}, {heads=}, {patch=}, {mlp=}")
        for dim, count in zip(dims, heads, strict=True):
            if dim % count:
                raise InputError(f"cvt: a dim of {dim} is not a multiple of its {count} heads; change one of them")
        if not 0 <= drop_path < 1:
            raise InputError(f"cvt: drop_path is a probability in [0, 1), got {drop_path}")
        self.dim, self.channels, self.patch, self.depths = dims[-1], channels, patch, depths
        rates = iter([drop_path * (i + 1) / sum(depths) for i in range(sum(depths))])
        self.stages = nn.ModuleList(
            Stage(before, dim, count, mlp, norm, patch if i == 0 else 2, [next(rates) for _ in range(depth)])
            for i, (before, dim, depth, count) in enumerate(zip((channels, *dims), dims, depths, heads, strict=False))
        )
        self.norm = nn.LayerNorm(self.dim, eps=1e-6)
        self.apply(initialise)

    def features(self, images: Tensor, context: Tensor | None = None) -> list[FeatureMap]:
        """A map for each stage; ``context`` is not looked at.

        Raises:
            InputError: for another number of channels.
        """
        check_channels("cvt", images, self.channels)
        maps, x = [], images
        for i, stage in enumerate(self.stages):
            x = stage(x)
            maps.append(FeatureMap(x, self.patch * 2**i))
        maps[-1].x = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return maps

    def trace(self, layers: Sequence[Attended], maps: Sequence[FeatureMap]) -> list[FeatureMap]:
        """See ``Traceable``: keys, and cells of later stages, are means over the 3 x 3 cells that a kernel sees."""
        left, shares = list(layers), evenly(maps[-1])
        for k in reversed(range(len(maps))):
            grid = maps[k].grid
            for _ in range(self.depths[k]):
                seen = averaged(attended(shares, left.pop()), grid, kernel=3, stride=squeezed(grid), padding=1)
                shares = (shares + seen) / 2
            if k:
                shares = averaged(shares, maps[k - 1].grid, kernel=3, stride=2, padding=1)
        return [FeatureMap(shares.unflatten(1, (1, *maps[0].grid)), self.patch)]


class Stage(nn.Module):
    """A strided convolution that makes tokens, and blocks that work on them; one block for each of ``rates``."""

    def __init__(self, before: int, dim: int, heads: int, mlp: int, norm: str, stride: int, rates: list[float]):
        super().__init__()
        self.embedding = nn.Conv2d(before, dim, 2 * stride - 1, stride=stride, padding=stride - 1)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.blocks = nn.ModuleList(ConvBlock(dim, heads, mlp * dim, rate, norm) for rate in rates)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, D, h, w), h = H / stride rounded up."""
        x = self.embedding(x)
        grid = (x.shape[2], x.shape[3])
        x = self.norm(x.flatten(2).transpose(1, 2))
        for block in self.blocks:
            x = block(x, grid)
        return x.transpose(1, 2).unflatten(2, grid)


class ConvBlock(Block):
    """The block of the vision transformer with attention that knows the grid."""

    def __init__(self, dim: int, heads: int, mlp: int, drop_path: float, norm: str):
        super().__init__(dim, heads, mlp, drop_path)
        self.attention = ConvAttention(dim, heads, norm)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        rate = self.drop_path if self.training else 0.0
        x = x + skip(self.attention(self.norm1(x), grid), rate)
        return x + skip(self.mlp(self.norm2(x)), rate)


class ConvAttention(nn.Module):
    """Multi-head attention whose queries, keys and values are each a depthwise convolution, then a linear map."""

    def __init__(self, dim: int, heads: int, norm: str):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (Projection(dim, norm) for _ in range(3))
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        x = x.transpose(1, 2).unflatten(2, grid)
        squeeze = squeezed(grid)
        q, k, v = self.q(x, 1), self.k(x, squeeze), self.v(x, squeeze)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))  # each (B, K, N, E)
        return self.out(attend(q, k, v).transpose(1, 2).flatten(2))


def squeezed(grid: tuple[int, int]) -> int:
    """The stride of keys and values on a grid.

    One of two cells would be squeezed to one key, over which a softmax is 1 and nothing is learned.
    """
    return SQUEEZE if min(grid) > SQUEEZE else 1


class Projection(nn.Module):
    """A depthwise 3 x 3 convolution, normalised, then a linear map of each cell."""

    def __init__(self, dim: int, norm: str):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False)
        self.norm = chosen(NORMS, norm, "norm of cvt")(dim)
        self.linear = nn.Linear(dim, dim)

    def forward(self, x: Tensor, stride: int) -> Tensor:
        """(B, D, h, w) to (B, N, D), of every ``stride``-th cell on each axis."""
        x = F.conv2d(x, self.conv.weight, stride=stride, padding=1, groups=self.conv.groups)
        return self.linear(self.norm(x).flatten(2).transpose(1, 2))

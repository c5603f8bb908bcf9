"""A vision transformer that is equivariant under the eight symmetries of the square, exactly and not by augmentation.

The sky has no preferred direction: a lens that is turned by 90 degrees or mirrored is as likely and of the same class.
Here this is built into every map (group convolutions, Cohen & Welling 2016, arXiv 1602.07576; for attention, Romero &
Cordonnier 2021, arXiv 2010.00977) in place of being learned from turned copies of the images.

Features are functions on the group G = D4: a token at x holds 8 copies f(g, x), one as seen from each orientation, and
if the image is turned by u they become f(u^-1 g, u^-1 x). What keeps that:

    stem        f(g, y) = sum_(k, x) (g W_(g^-1 k))(x) f(k, x + y),   (g W)(x) = W(g^-1 x),   turned copies of one
    linear      f(g)    = sum_k W_(g^-1 k) f(k),                      block-circulant over the group, an eighth is free
    position    f(g, x) + P(g^-1 x),                                  the place as seen from each orientation
    attention   the heads of copy g take queries, keys and values from copy g: they turn with it, so that one
                can look to "its" right, which attention shared by the copies could not
    GELU, norm  pointwise; mean and variance over all copies, scale and shift the same for each
    output      y(x)    = norm( mean_g GELU( sum_k W_(g^-1 k) f(k, x) ) ),   as many channels as before, all invariant

The output is a map of scalars, which only moves when the image is turned: its mean over the cells, or any pooling that
does not ask for the place, is exactly invariant. The mean over the group comes behind a nonlinearity of full width, by
which it keeps relations between orientations that a mean of the features themselves would average away. What a scalar
cannot say is how the inside of a token is oriented; an objective that paints pixels from these tokens has to find that
from where the others are.

How exactly the map turns with the image is measured by ``benchmarks/oracles.py`` and stands in docs/models.md.

Shapes: B images, C channels, H x W pixels, a grid of h x w patches, N tokens of width D = 8 c, copies first.
"""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.errors import InputError, chosen
from arcformer.models.backbone import BACKBONES, TokenBackbone, Tokens
from arcformer.models.fitting import check_channels
from arcformer.models.position import cells, looked_up
from arcformer.models.vit import Block, attend

__all__ = ["ELEMENTS", "SIZES", "EquivariantTransformer", "GroupConv", "GroupLinear"]

SIZES = {
    "tiny": {"dim": 128, "depth": 4, "heads": 8},
    "small": {"dim": 384, "depth": 12, "heads": 8},
    "base": {"dim": 768, "depth": 12, "heads": 16},
}
"""As wide and deep as those of ``vit``, so that a step takes about as long; shared, the parameters are an eighth."""

ELEMENTS = tuple(
    ((0, up), (left, 0)) if swap else ((up, 0), (0, left))
    for swap, up, left in itertools.product((0, 1), (1, -1), (1, -1))
)
"""The group as what it does to (row, column), counted from the centre; the first is the identity."""

GROUP = len(ELEMENTS)


def _between(g: int, k: int) -> int:
    """The index of g^-1 k; the inverse of these matrices is their transpose."""
    a, b = ELEMENTS[g], ELEMENTS[k]
    product = tuple(tuple(sum(a[m][i] * b[m][j] for m in (0, 1)) for j in (0, 1)) for i in (0, 1))
    return ELEMENTS.index(product)  # type: ignore[arg-type]


BETWEEN = [[_between(g, k) for k in range(GROUP)] for g in range(GROUP)]


def _turned_cells(side: int) -> list[list[int]]:
    """For each element g, the cell g^-1 x for every cell x of a square of this side: a kernel so indexed is turned."""
    axis = [2 * i - (side - 1) for i in range(side)]  # twice the distance from the centre, whole for even sides too
    turned = []
    for (a, b), (c, d) in ELEMENTS:
        places = [(a * row + c * column, b * row + d * column) for row in axis for column in axis]
        turned.append([(row + side - 1) // 2 * side + (column + side - 1) // 2 for row, column in places])
    return turned


@BACKBONES.register("d4vit")
class EquivariantTransformer(TokenBackbone):
    """A vision transformer whose features turn with the image: rotations by 90 degrees and mirrors, exactly.

    An image side that the patch does not divide is padded with zeros, alike on both ends. Where that leaves an odd
    number of pixels to add, one more is added and neighbours along this side are averaged: no grid of an even number
    of pixels lies symmetric on an odd number of them, and a shift to either end would break the symmetry.

    Args:
        image_size: side of most images, pixels; nothing here depends on it.
        channels: number of channels of the images.
        size: ``tiny`` (0.14 M parameters), ``small`` (3.0 M) or ``base`` (12 M), as wide and deep as those of ``vit``;
            ``dim``, ``depth``, ``heads`` and ``mlp``, the hidden width of the perceptrons (4 ``dim`` by default), each
            override it. Widths and heads count all 8 copies.
        patch: side of a patch, pixels; a power of two.
        drop_path: probability with which the last block is skipped in training, per image; earlier ones in proportion.

    Raises:
        InputError: for options that do not fit together.
    """

    def __init__(
        self,
        image_size: int,
        channels: int,
        *,
        size: Literal["tiny", "small", "base"] = "tiny",
        dim: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        mlp: int | None = None,
        patch: int = 8,
        drop_path: float = 0.0,
    ):
        super().__init__()
        preset = chosen(SIZES, size, "size of d4vit")
        dim = preset["dim"] if dim is None else dim
        depth = preset["depth"] if depth is None else depth
        heads = preset["heads"] if heads is None else heads
        mlp = 4 * dim if mlp is None else mlp
        if min(dim, depth, heads, mlp) < 1:
            raise InputError(f"d4vit: sizes must be positive, got {dim=}, {depth=}, {heads=}, {mlp=}")
        if heads % GROUP or dim % heads or mlp % GROUP:
            given = f"{dim=}, {heads=}, {mlp=}"
            raise InputError(f"d4vit: heads and mlp must be multiples of 8 and dim one of heads, got {given}")
        if not 0 <= drop_path < 1:
            raise InputError(f"d4vit: drop_path is a probability in [0, 1), got {drop_path}")
        self.dim, self.stride, self.channels = dim, patch, channels
        self.stem = LiftingStem(channels, dim, patch)
        self.position = TurnedPosition(dim)
        rates = [drop_path * (i + 1) / depth for i in range(depth)]
        self.blocks = nn.ModuleList(EquivariantBlock(dim, heads, mlp, rate) for rate in rates)
        self.norm = SharedNorm(dim)
        self.scalars = GroupLinear(dim, GROUP * dim)
        self.out = nn.LayerNorm(dim, eps=1e-6)
        self.apply(_initialise)
        # of order one behind it, where GELU bends: next to zero it is linear, and its mean knows the mean alone
        nn.init.trunc_normal_(self.scalars.weight, std=dim**-0.5)

    def tokenize(self, images: Tensor, context: Tensor | None = None) -> Tokens:
        """Patches of ``images`` (B, C, H, W) as tokens of 8 copies; ``context`` is carried along and not looked at.

        Raises:
            InputError: for another number of channels.
        """
        check_channels("d4vit", images, self.channels)
        x = self.stem(_fit(images, self.stride))
        grid = (x.shape[2], x.shape[3])
        ids = torch.arange(grid[0] * grid[1], device=x.device).expand(x.shape[0], -1)
        return Tokens(x.flatten(2).transpose(1, 2).contiguous(), grid, ids, context)

    def encode(self, tokens: Tokens) -> Tokens:
        """Tokens that have attended to each other, as invariant channels; positions follow their ids."""
        x = tokens.x + looked_up(self.position(tokens.grid), tokens.ids).to(tokens.x.dtype)
        for block in self.blocks:
            x = block(x)
        x = F.gelu(self.scalars(self.norm(x))).unflatten(2, (GROUP, -1)).mean(2)
        return Tokens(self.out(x), tokens.grid, tokens.ids, tokens.context)


def _fit(images: Tensor, patch: int) -> Tensor:
    """Images whose sides are multiples of the patch, each of their ends treated as the other."""
    odd = [-side % patch % 2 for side in images.shape[-2:]]
    height, width = ((-side % patch + each) // 2 for side, each in zip(images.shape[-2:], odd, strict=True))
    if height or width:
        images = F.pad(images, (width, width, height, height))
    return F.avg_pool2d(images, (1 + odd[0], 1 + odd[1]), stride=1) if any(odd) else images


class GroupLinear(nn.Linear):
    """A linear map between functions on the group, f(g) = sum_k W_(g^-1 k) f(k) + b: (..., 8 c) to (..., 8 c').

    ``weight`` (c', 8 c) is its first row of blocks, the map onto the first copy, from which the whole matrix follows.
    """

    between: Tensor

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs // GROUP)
        self.register_buffer("between", torch.tensor(BETWEEN).flatten(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        blocks = self.weight.unflatten(1, (GROUP, -1)).index_select(1, self.between)  # (c', 8 g x 8 k, c)
        matrix = blocks.unflatten(1, (GROUP, GROUP)).transpose(0, 1).flatten(2).flatten(0, 1)
        return F.linear(x, matrix, self.bias.repeat(GROUP))


class GroupConv(nn.Module):
    """A convolution between functions on the group and the plane, (B, 8 c, H, W) to (B, 8 c', H', W').

    An even kernel with half of it less one as padding: with a stride of 2 an even number of pixels is sampled at
    places that are symmetric about the middle, which those of a 3 x 3 kernel are not.

    Args:
        inputs: channels, copies included; of an image, if it ``lifts``.
        outputs: channels, copies included.
        kernel: side of the kernel, pixels.
        lifts: whether the input is a function on the plane alone, an image.
    """

    index: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, *, lifts: bool = False):
        super().__init__()
        copies = 1 if lifts else GROUP
        self.copies, self.kernel, self.stride = copies, kernel, stride
        self.weight = nn.Parameter(torch.empty(outputs // GROUP, inputs // copies, copies * kernel**2))
        self.bias = nn.Parameter(torch.zeros(outputs // GROUP))
        nn.init.trunc_normal_(self.weight, std=self.weight[0].numel() ** -0.5)
        turned = torch.tensor(_turned_cells(kernel))  # (8, kernel^2)
        between = torch.zeros(GROUP, 1, dtype=torch.int64) if lifts else torch.tensor(BETWEEN)
        index = between[:, :, None] * kernel**2 + turned[:, None, :]  # of (g, k, x) among (g^-1 k, g^-1 x)
        self.register_buffer("index", index.flatten(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        kernels = self.weight.index_select(2, self.index).unflatten(2, (GROUP, self.copies, self.kernel, self.kernel))
        kernels = kernels.permute(2, 0, 3, 1, 4, 5).flatten(2, 3).flatten(0, 1)  # (8 c', copies x c, kernel, kernel)
        return F.conv2d(x, kernels, self.bias.repeat(GROUP), self.stride, padding=(self.kernel - 1) // 2)


class SharedNorm(nn.Module):
    """Layer norm over all copies and channels of a token, whose scale and shift are the same for every copy.

    Args:
        whole: normalise over a whole image (B, 8 c, H, W) in place of tokens (B, N, 8 c).
    """

    def __init__(self, dim: int, whole: bool = False):
        super().__init__()
        self.whole = whole
        self.weight = nn.Parameter(torch.ones(dim // GROUP))
        self.bias = nn.Parameter(torch.zeros(dim // GROUP))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.repeat(GROUP), self.bias.repeat(GROUP)
        return F.group_norm(x, 1, weight, bias) if self.whole else F.layer_norm(x, weight.shape, weight, bias, 1e-6)


class LiftingStem(nn.Sequential):
    """4 x 4 convolutions of stride 2 whose width doubles up to ``dim``, then a 1 x 1 convolution; the first one lifts.

    As the convolutional stem of ``vit``, but for the kernels (see ``GroupConv``).
    """

    def __init__(self, channels: int, dim: int, patch: int):
        steps = patch.bit_length() - 1
        if patch < 2 or patch != 2**steps:
            raise InputError(f"d4vit: the patch must be a power of two, got {patch}")
        if dim % (GROUP * 2 ** (steps - 1)):
            raise InputError(
                f"d4vit: a patch of {patch} needs a dim divisible by {GROUP * 2 ** (steps - 1)}, got {dim}"
            )
        widths = [channels, *(dim // 2 ** (steps - 1 - i) for i in range(steps))]
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(itertools.pairwise(widths)):
            layers += [GroupConv(before, after, 4, 2, lifts=i == 0), SharedNorm(after, whole=True), nn.GELU()]
        super().__init__(*layers, GroupConv(dim, dim, 1, 1))


class TurnedPosition(nn.Module):
    """Where a cell is, as seen from each orientation: P(g^-1 x), with P a learned mix of sines and cosines.

    Args:
        frequencies: for each axis; from 1 per cell down, as slow as suits grids of tens of cells.
    """

    def __init__(self, dim: int, frequencies: int = 8):
        super().__init__()
        self.frequencies = frequencies
        self.mix = nn.Linear(4 * frequencies, dim // GROUP)

    def forward(self, grid: tuple[int, int]) -> Tensor:
        """(h * w, D), what is added to the token of each cell."""
        places = torch.stack(cells(grid, self.mix.weight.device), 1)  # (N, 2)
        turned = torch.matmul(places, places.new_tensor(ELEMENTS))  # x^T g is (g^-1 x)^T: (8, N, 2)
        steps = torch.arange(self.frequencies, device=places.device) / self.frequencies
        angles = (turned[..., None] * 100.0**-steps).flatten(2)
        seen = self.mix(torch.cat([angles.sin(), angles.cos()], 2).to(self.mix.weight.dtype))
        return seen.transpose(0, 1).flatten(1)


class EquivariantBlock(Block):
    """The block of ``vit`` with maps between functions on the group."""

    def __init__(self, dim: int, heads: int, mlp: int, drop_path: float):
        super().__init__(dim, GROUP, GROUP, drop_path)
        self.norm1, self.norm2 = SharedNorm(dim), SharedNorm(dim)
        self.attention = GroupAttention(dim, heads)
        self.mlp = nn.Sequential(GroupLinear(dim, mlp), nn.GELU(), GroupLinear(mlp, dim))


class GroupAttention(nn.Module):
    """Self-attention with ``heads`` / 8 heads for each copy, which share their weights and turn with the image."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = GroupLinear(dim, 3 * dim)
        self.out = GroupLinear(dim, dim)

    def forward(self, x: Tensor, turn: None = None) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        parts = self.qkv(x).unflatten(2, (GROUP, 3, self.heads // GROUP, -1))  # (B, N, 8, 3, K / 8, E)
        q, k, v = parts.permute(3, 0, 2, 4, 1, 5).flatten(2, 3)  # each (B, K, N, E)
        return self.out(attend(q, k, v).transpose(1, 2).flatten(2))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    if isinstance(module, TurnedPosition):  # of order one, as the tokens are
        nn.init.trunc_normal_(module.mix.weight, std=module.mix.in_features**-0.5)

"""What Swin Transformers are made of: blocks that attend within windows, in place and shifted in turn.

Those of the Swin Transformer V2 (Liu et al. 2022, arXiv 2111.09883), for networks on grids that get coarser
(``swin.py``) and for those that keep the pixels of the image (``swinir.py``).

Shapes: B images, a grid of h x w cells of width D, M windows of N = w * w cells, K heads of width E. The width comes
last: (B, h, w, D).
"""

from __future__ import annotations

import functools
import math
import typing
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.errors import InputError
from arcformer.models.vit import attend, skip

__all__ = ["Attention", "Block", "Merge", "PositionBias", "Stage", "check_stages", "initialise"]


class Stage(nn.Module):
    """Blocks on one grid, windows in place and shifted in turn, after a merging of the grid before, if there is one.

    ``beside`` makes, for each block, what looks at the grid beside its attention (see ``Block``).
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window: int,
        mlp: int,
        rates: Sequence[float],
        merge: Merge | None = None,
        beside: Callable[[], nn.Module] | None = None,
    ):
        super().__init__()
        self.window = window
        self.merge = merge
        self.blocks = nn.ModuleList(
            Block(dim, heads, window, mlp, rate, None if beside is None else beside()) for rate in rates
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, D) to the same; with a merging, from (B, 2 h, 2 w, D / 2)."""
        if self.merge is not None:
            x = self.merge(x)
        for i, block in enumerate(self.blocks):
            x = block(x, self._shift(i))
        return x

    def windows(self, grid: tuple[int, int], device: torch.device) -> list[Tensor]:
        """The cells of each window of each block, (M, N), counted row by row; -1 for those that are added."""
        number = torch.arange(1, grid[0] * grid[1] + 1, device=device).view(1, *grid, 1)
        blocks = typing.cast(Iterable[Block], self.blocks)
        return [block.cut(number, self._shift(i))[0][0, :, :, 0] - 1 for i, block in enumerate(blocks)]

    def _shift(self, block: int) -> int:
        return self.window // 2 if block % 2 else 0


class Merge(nn.Module):
    """2 x 2 cells of width D to one of width 2 D, by a linear map and a norm; odd sides get zeros at their end."""

    def __init__(self, dim: int):
        super().__init__()
        self.linear = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, D) to (B, h / 2, w / 2, 2 D). The four stand column by column, as published weights want it."""
        if x.shape[1] % 2 or x.shape[2] % 2:
            x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, h / 2, 2, w / 2, 2, D)
        return self.norm(self.linear(x.permute(0, 1, 3, 4, 2, 5).flatten(3)))


class Block(nn.Module):
    """x + norm(attention(x)), then x + norm(perceptron(x)); each branch skipped for an image with ``drop_path``.

    With ``beside``, a map of grids (B, h, w, D), what it makes of x is added to that of the attention.
    """

    def __init__(self, dim: int, heads: int, window: int, mlp: int, drop_path: float, beside: nn.Module | None = None):
        super().__init__()
        self.window = window
        self.attention = Attention(dim, heads, window)
        self.norm1 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp), nn.GELU(), nn.Linear(mlp, dim))
        self.norm2 = nn.LayerNorm(dim)
        self.beside = beside
        self.drop_path = drop_path

    def forward(self, x: Tensor, shift: int) -> Tensor:
        """(B, h, w, D) to the same, with windows that begin ``shift`` cells further down and right."""
        rate = self.drop_path if self.training else 0.0
        branch = self.norm1(self._windowed(x, shift))
        x = x + skip(branch if self.beside is None else branch + self.beside(x), rate)
        return x + skip(self.norm2(self.mlp(x)), rate)

    def cut(self, x: Tensor, shift: int) -> tuple[Tensor, tuple[int, ...], tuple[int, int]]:
        """A grid (B, h, w, D) in windows (B, M, N, D), and how far it was rolled and, on its near ends, padded."""
        side = self.window
        lack = (-x.shape[1] % side, -x.shape[2] % side)
        top, left = lack[0] // 2, lack[1] // 2
        # One window along an axis sees all of it already; shifted, it would be cut in two.
        shifts = tuple(shift if n > side else 0 for n in x.shape[1:3])
        if lack != (0, 0):
            x = F.pad(x, (0, 0, left, lack[1] - left, top, lack[0] - top))
        if shifts != (0, 0):
            x = x.roll((-shifts[0], -shifts[1]), (1, 2))
        x = x.unflatten(2, (-1, side)).unflatten(1, (-1, side)).transpose(2, 3)  # (B, rows, columns, w, w, D)
        return x.flatten(3, 4).flatten(1, 2), shifts, (top, left)

    def _windowed(self, x: Tensor, shift: int) -> Tensor:
        """Attention within windows: the grid is padded, rolled, cut, and put together again."""
        (height, width), side = x.shape[1:3], self.window
        rows, columns = -(-height // side), -(-width // side)
        x, shifts, (top, left) = self.cut(x, shift)
        blocked = None
        if shifts != (0, 0) or (rows * side, columns * side) != (height, width):
            blocked = _blocked_cached((height, width), side, shifts, x.device)
        x = self.attention(x, blocked)
        x = x.unflatten(2, (side, side)).unflatten(1, (rows, columns)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        if shifts != (0, 0):
            x = x.roll(shifts, (1, 2))
        return x[:, top : top + height, left : left + width]


class Attention(nn.Module):
    """Cosine attention within windows: softmax(s cos(q, k) + bias) v, with a learned scale s of at most 100 a head.

    Keys have no bias of their own.
    """

    def __init__(self, dim: int, heads: int, window: int):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(dim, dim, bias=bias) for bias in (True, False, True))
        self.out = nn.Linear(dim, dim)
        self.log_scale = nn.Parameter(torch.full((heads,), math.log(10.0)))
        self.position = PositionBias(heads, window)

    def forward(self, x: Tensor, blocked: Tensor | None = None) -> Tensor:
        """(B, M, N, D) to the same; ``blocked`` (M, N, N) is true where a cell must not see another."""
        windows, bias = x.shape[1], typing.cast(Tensor, self.q.bias)
        weight = torch.cat([self.q.weight, self.k.weight, self.v.weight])
        parts = F.linear(x, weight, torch.cat([bias, torch.zeros_like(bias), self.v.bias]))  # all three in one pass
        # Windows go with the heads: then one bias serves all images, and the fused kernels, which want 4 axes, apply.
        q, k, v = parts.unflatten(3, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5).flatten(2, 3)  # (B, M K, N, E)
        full = torch.promote_types(q.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):  # products go up to 100, too far for 8 bits of mantissa
            scale = self.log_scale.to(full).clamp(max=math.log(100.0)).exp().repeat(windows)[:, None, None]
            q, k = q.to(full), k.to(full)
            q, k = q * (scale / _length(q)), k * (1 / _length(k))
            bias = self.position().expand(windows, -1, -1, -1)  # (M, K, N, N)
        if blocked is not None:
            bias = bias.masked_fill(blocked[:, None], -torch.inf)
        q, k, bias = (part.to(v.dtype) for part in (q, k, bias.flatten(0, 1)))
        x = attend(q, k, v, bias[None], scale=1.0)
        return self.out(x.unflatten(1, (-1, self.heads)).transpose(2, 3).flatten(3))


def _length(x: Tensor) -> Tensor:
    """Of vectors (..., E), (..., 1); that of nothing is no zero."""
    return x.norm(dim=-1, keepdim=True).clamp_min(1e-12)


class PositionBias(nn.Module):
    """Log-spaced continuous position bias: 16 sigmoid(perceptron(steps)), from the steps between two cells of a window.

    Steps (down, right) are scaled to [-8, 8] and then to sign(x) log2(1 + |x|) / log2(8), so that larger windows are a
    short way of extrapolation. The perceptron has 512 hidden units, whatever the width.
    """

    steps: Tensor
    index: Tensor

    def __init__(self, heads: int, window: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, heads, bias=False))
        step = torch.arange(1 - window, window)
        steps = torch.cartesian_prod(step, step) * 8 / max(1, window - 1)
        steps = steps.sign() * torch.log2(1 + steps.abs()) / math.log2(8)
        cell = torch.cartesian_prod(torch.arange(window), torch.arange(window))
        apart = cell[:, None] - cell + window - 1  # (N, N, 2), of a query and a key, from 0
        self.register_buffer("steps", steps, persistent=False)
        self.register_buffer("index", apart[..., 0] * (2 * window - 1) + apart[..., 1], persistent=False)

    def forward(self) -> Tensor:
        """(K, N, N)."""
        table = 16 * self.mlp(self.steps).sigmoid()
        return table[self.index].permute(2, 0, 1)


def _blocked(grid: tuple[int, int], window: int, shifts: tuple[int, ...], device: torch.device) -> Tensor:
    """Which cells of a window do not see each other, (M, N, N), for a grid padded to windows and rolled by ``shifts``.

    Rolling brings cells from opposite edges into one window; those that were not neighbours before stay apart. Cells
    that were added by padding are apart from those of the image.
    """
    places, inside = [], []
    for side, shift in zip(grid, shifts, strict=True):
        lack = -side % window
        cell = torch.arange(side + lack, device=device).roll(-shift)
        places.append(torch.div(cell - shift, window, rounding_mode="floor"))
        inside.append((cell >= lack // 2) & (cell < lack // 2 + side))
    labels = places[0][:, None] * (grid[1] + window) + places[1]
    labels = torch.where(inside[0][:, None] & inside[1], labels, labels.max() + 1)
    labels = labels.unflatten(1, (-1, window)).unflatten(0, (-1, window)).transpose(1, 2).flatten(2).flatten(0, 1)
    return labels[:, :, None] != labels[:, None]


@functools.lru_cache(maxsize=32)
def _remembered(grid: tuple[int, int], window: int, shifts: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # a tensor made in inference mode could not be used in training afterwards
        return _blocked(grid, window, shifts, device)


def _blocked_cached(grid: tuple[int, int], window: int, shifts: tuple[int, ...], device: torch.device) -> Tensor:
    """The same as ``_blocked``, made once for a grid and a device; a compiler folds it into its own graph instead."""
    return (_blocked if torch.compiler.is_compiling() else _remembered)(grid, window, shifts, device)


def check_stages(
    name: str,
    dims: Sequence[int],
    depths: Sequence[int],
    heads: Sequence[int],
    window: int,
    mlp_ratio: float,
    drop_path: float,
) -> None:
    """Raise ``InputError`` for options of stages, of the backbone ``name``, that do not fit together."""
    if min(window, mlp_ratio, *dims, *depths, *heads) <= 0:
        raise InputError(
            f"{name}: sizes must be positive, got dim={dims[0] if dims else None}, {depths=}, {heads=}, {window=}, "
            f"{mlp_ratio=}"
        )
    if len(depths) != len(heads) or not depths:
        raise InputError(f"{name}: depths and heads have one number a stage, got {tuple(depths)} and {tuple(heads)}")
    for i, (dim, number) in enumerate(zip(dims, heads, strict=True)):
        if dim % number:
            raise InputError(f"{name}: width {dim} of stage {i + 1} is not a multiple of its {number} heads")
    if not 0 <= drop_path < 1:
        raise InputError(f"{name}: drop_path is a probability in [0, 1), got {drop_path}")


def initialise(module: nn.Module) -> None:
    """Weights as the stages want them; for ``nn.Module.apply``."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):  # by fan-in: the stem sees few inputs, for which 0.02 would be too small
        # Its bias is not zero: the norm behind it would throw the flux of a patch away, and empty sky would have keys
        # of length zero, whose gradients are of the order of 1e12.
        for parameter in (module.weight, module.bias):
            nn.init.trunc_normal_(parameter, std=module.weight[0].numel() ** -0.5)  # type: ignore[arg-type]

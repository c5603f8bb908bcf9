"""Where a token sits in the image: sin-cos, learned or rotary positions, from the ids of the tokens.

Each maps ``Tokens`` to (x, turn): the tokens with what is added to them, and what queries and keys are rotated by, or
None. Tables are computed for the grid at hand, which costs less than keeping them right across devices, precisions
and inference mode.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.models.backbone import Tokens

__all__ = ["POSITIONS", "Learned", "Rotary", "SinCos", "looked_up", "rotate", "sincos"]


def cells(grid: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Row and column of each cell, (h * w,) each, counted from the centre of the grid, where the lens is.

    Counted from there, a cell means the same place on the sky in images of different sizes.
    """
    h, w = grid
    rows = torch.arange(h, device=device, dtype=torch.float32) - (h - 1) / 2
    columns = torch.arange(w, device=device, dtype=torch.float32) - (w - 1) / 2
    return rows.repeat_interleave(w), columns.repeat(h)


def _angles(positions: Tensor, frequencies: int, longest: float) -> Tensor:
    """(N,) positions times ``frequencies`` angular frequencies from 1 down to 1 / ``longest``: (N, frequencies)."""
    steps = torch.arange(frequencies, device=positions.device, dtype=torch.float32) / frequencies
    return positions[:, None] * longest**-steps


def sincos(grid: tuple[int, int], dim: int, device: torch.device, longest: float = 10_000.0) -> Tensor:
    """The table of 2-D sin-cos positions, (h * w, dim): a quarter each for sine and cosine of column and row."""
    rows, columns = cells(grid, device)
    x, y = _angles(columns, dim // 4, longest), _angles(rows, dim // 4, longest)
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], 1)


def looked_up(table: Tensor, ids: Tensor) -> Tensor:
    """Rows of ``table`` (N, D) for cells ``ids`` (B, M), (B, M, D), or (1, M, D) where all images show the same cells.

    The gradient of a look-up is slow, row by row: for B images it takes as long as a layer of attention.
    """
    return table[ids[:1] if ids.stride(0) == 0 else ids]


class SinCos(nn.Module):
    """Fixed sines and cosines of row and column, added to the tokens (Vaswani et al. 2017, section 3.5)."""

    def __init__(self, dim: int, heads: int, grid: tuple[int, int]):
        super().__init__()

    def forward(self, tokens: Tokens) -> tuple[Tensor, None]:
        table = sincos(tokens.grid, tokens.x.shape[2], tokens.x.device)
        return tokens.x + looked_up(table, tokens.ids).to(tokens.x.dtype), None


class Learned(nn.Module):
    """A learned vector for each cell of the grid at construction, interpolated (bicubic) to other grids."""

    def __init__(self, dim: int, heads: int, grid: tuple[int, int]):
        super().__init__()
        self.table = nn.Parameter(nn.init.trunc_normal_(torch.empty(dim, *grid), std=0.02))

    def forward(self, tokens: Tokens) -> tuple[Tensor, None]:
        table = self.table
        if table.shape[1:] != tokens.grid:
            table = F.interpolate(table[None], tokens.grid, mode="bicubic", align_corners=False)[0]
        return tokens.x + looked_up(table.flatten(1).T, tokens.ids).to(tokens.x.dtype), None


class Rotary(nn.Module):
    """Queries and keys rotated by row and column (Su et al. 2021, arXiv 2104.09864; in 2-D, Heo et al. 2024).

    Half of the pairs of each head turn with the row, half with the column. The slowest frequency, about 1 / 100, suits
    grids of tens of cells, as in the latter paper.
    """

    def __init__(self, dim: int, heads: int, grid: tuple[int, int]):
        super().__init__()
        self.pairs = dim // heads // 2

    def forward(self, tokens: Tokens) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        rows, columns = cells(tokens.grid, tokens.x.device)
        angles = [_angles(p, self.pairs // 2, 100.0) for p in (rows, columns)]
        angle = looked_up(torch.cat(angles, 1), tokens.ids)  # (B, N, E / 2), or (1, N, E / 2)
        return tokens.x, (angle.cos(), angle.sin())


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """The last M of ``x`` (B, K, N, E) rotated pair by pair, (e, e + E / 2), with tables (B, M, E / 2).

    Tables that are alike for all images are (1, M, E / 2), those of heads that differ (B, K, M, E / 2). What comes
    before the last M are registers, which have no place and are left alone.
    """
    still, moved = x.split([x.shape[2] - cosine.shape[-2], cosine.shape[-2]], 2)
    if cosine.ndim == 3:
        cosine, sine = cosine[:, None], sine[:, None]
    cosine, sine = cosine.to(x.dtype), sine.to(x.dtype)
    a, b = moved.chunk(2, 3)
    turned = torch.cat([a * cosine - b * sine, a * sine + b * cosine], 3)
    return torch.cat([still, turned], 2) if still.shape[2] else turned


POSITIONS = {"sincos": SinCos, "learned": Learned, "rotary": Rotary}

"""The light transformer that fills in what an encoder was not shown: MAE's decoder, JEPA's predictor."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from arcformer.errors import InputError
from arcformer.models import Tokens
from arcformer.models.position import sincos
from arcformer.models.vit import Block, initialise

__all__ = ["Decoder"]

SHARE = 8
"""Its blocks hold at most this fraction of the parameters of the encoder, so they cost as little per token."""


class Decoder(nn.Module):
    """Encoded tokens of some cells to vectors for other cells, of which it knows the place alone.

    Args:
        encoder: whose tokens these are; half its width, or less where the encoder is so small that this would be more
            than an eighth of it.
        dim: width of its tokens, ``Backbone.dim``.
        outputs: numbers for a cell.
        blocks: 1 or 2.

    Raises:
        InputError: for another number of blocks.
    """

    def __init__(self, encoder: nn.Module, dim: int, outputs: int, *, blocks: int = 1):
        super().__init__()
        if blocks not in (1, 2):
            raise InputError(f"a decoder has 1 or 2 blocks, got {blocks}: the encoder is what is to learn")
        parameters = sum(parameter.numel() for parameter in encoder.parameters())
        widest = (parameters / SHARE / (12 * blocks)) ** 0.5  # a block of width d has 12 d^2 parameters
        width = max(16, int(min(dim / 2, widest)) // 16 * 16)
        self.enter = nn.Linear(dim, width)
        self.blank = nn.Parameter(torch.empty(width))
        self.blocks = nn.ModuleList(Block(width, width // 16, 4 * width, 0.0) for _ in range(blocks))
        self.norm = nn.LayerNorm(width, 1e-6)
        self.leave = nn.Linear(width, outputs)
        self.apply(initialise)
        nn.init.trunc_normal_(self.blank, std=0.02)

    def forward(self, seen: Tokens, wanted: Tensor) -> Tensor:
        """(B, M, outputs) for the cells ``wanted`` (B, M), from the tokens ``seen``."""
        x = self.enter(seen.x)
        images, cells = len(x), seen.grid[0] * seen.grid[1]
        whole = self.blank.to(x.dtype).expand(images, cells, -1).scatter(1, _wide(seen.ids, x), x)
        whole = whole + sincos(seen.grid, x.shape[2], x.device).to(x.dtype)
        for block in self.blocks:
            whole = block(whole)
        return self.leave(self.norm(whole.gather(1, _wide(wanted, x))))


def _wide(ids: Tensor, x: Tensor) -> Tensor:
    return ids[..., None].expand(-1, -1, x.shape[2])

"""The cross-attention multi-scale vision transformer (CrossViT; Chen et al. 2021, arXiv 2103.14899).

Two branches look at the same image in patches of two sizes, the fine one with few and narrow blocks, the coarse one
with more and wider ones. Each has a summary token (the paper's class token). After some blocks of its own the summary
of each branch attends to the patches of the other, which costs as little as one query, and takes what it found back to
its own patches in the blocks that follow.

Shapes: B images, C channels, H x W pixels; in each branch N patches of width D, K heads of width E.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.errors import InputError, chosen
from arcformer.models.attention import Attended, evenly, through
from arcformer.models.backbone import BACKBONES, Backbone, FeatureMap, Tokens
from arcformer.models.fitting import check_channels, fit
from arcformer.models.position import POSITIONS
from arcformer.models.vit import STEMS, Block, attend, initialise

__all__ = ["SIZES", "CrossViT"]


class Size(TypedDict):
    dims: tuple[int, int]
    depths: tuple[int, int]
    rounds: int
    heads: int


SIZES: dict[str, Size] = {
    "tiny": {"dims": (64, 128), "depths": (1, 2), "rounds": 2, "heads": 4},
    "small": {"dims": (192, 384), "depths": (1, 4), "rounds": 3, "heads": 6},
}
"""Width of the fine and the coarse branch, their blocks in each round, rounds and heads by name; ``small`` is
CrossViT-S of the paper."""


@BACKBONES.register("crossvit")
class CrossViT(Backbone):
    """Two transformers, on fine and on coarse patches, that inform each other through one summary token each.

    ``features`` gives the grid of fine patches and the grid of coarse ones. Each branch's summary is added to all its
    cells, without which the last exchange would be lost, and that of the fine branch to the coarse cells too, as the
    paper adds up what it reads from both: so a head that pools the last map has all there is.

    Args:
        image_size: side of most images, pixels. Learned positions are laid out for it and interpolated to others.
        channels: number of channels of the images.
        size: ``tiny`` (1.1 M parameters) or ``small`` (23 M); ``dims`` and ``depths``, each of the fine and the coarse
            branch, ``rounds`` (``depths`` blocks and an exchange) and ``heads`` override it.
        patches: sides of the fine and the coarse patches, pixels; with a convolutional stem, powers of two.
        mlp: hidden width of the perceptrons over that of the tokens; 3 in the paper.
        stem: ``patch`` (one linear map a patch) or ``conv`` (strided 3 x 3 convolutions, which learn faster).
        position: ``sincos`` or ``learned`` (added to the tokens) or ``rotary`` (turns queries and keys).
        drop_path: probability with which the last block is skipped in training, per image; earlier ones in proportion.
        uneven: what happens where a patch does not divide the image: ``pad`` with zeros on all sides, or ``crop`` to
            the central part; in each branch for itself.

    Raises:
        InputError: for options that do not fit together.
    """

    def __init__(
        self,
        image_size: int,
        channels: int,
        *,
        size: Literal["tiny", "small"] = "tiny",
        dims: tuple[int, int] | None = None,
        depths: tuple[int, int] | None = None,
        rounds: int | None = None,
        heads: int | None = None,
        patches: tuple[int, int] = (4, 8),
        mlp: int = 3,
        stem: Literal["patch", "conv"] = "conv",
        position: Literal["sincos", "learned", "rotary"] = "sincos",
        drop_path: float = 0.0,
        uneven: Literal["pad", "crop"] = "pad",
    ):
        super().__init__()
        preset = chosen(SIZES, size, "size of crossvit")
        dims = preset["dims"] if dims is None else dims
        depths = preset["depths"] if depths is None else depths
        rounds = preset["rounds"] if rounds is None else rounds
        heads = preset["heads"] if heads is None else heads
        if min(*dims, *depths, *patches, rounds, heads, mlp) < 1:
            given = f"{dims=}, {depths=}, {rounds=}, {heads=}, {patches=}, {mlp=}"
            raise InputError(f"crossvit: sizes must be positive, got {given}")
        if patches[0] >= patches[1]:
            raise InputError(f"crossvit: patches are the fine and the coarse one, in this order, got {patches}")
        for dim in dims:
            if dim % (4 * heads):
                raise InputError(
                    f"crossvit: dim {dim} is not a multiple of 4 * heads = {4 * heads}; change one of them"
                )
        if not 0 <= drop_path < 1:
            raise InputError(f"crossvit: drop_path is a probability in [0, 1), got {drop_path}")
        self.dim, self.channels = dims[1], channels
        self.fine, self.coarse = (
            Branch(image_size, channels, dim, patch, heads, rounds, depth, mlp, stem, position, drop_path, uneven)
            for dim, patch, depth in zip(dims, patches, depths, strict=True)
        )
        self.to_coarse = nn.ModuleList(Exchange(dims[0], dims[1], heads) for _ in range(rounds))
        self.to_fine = nn.ModuleList(Exchange(dims[1], dims[0], heads) for _ in range(rounds))
        self.join = nn.Linear(*dims)
        self.norm = nn.LayerNorm(self.dim, eps=1e-6)
        self.apply(initialise)
        for branch in (self.fine, self.coarse):
            nn.init.trunc_normal_(branch.summary, std=0.02)

    def features(self, images: Tensor, context: Tensor | None = None) -> list[FeatureMap]:
        """The fine and the coarse map; ``context`` is not looked at.

        Raises:
            InputError: for another number of channels, or an image smaller than a patch that is to be cropped.
        """
        check_channels("crossvit", images, self.channels)
        fine, fine_turn, fine_grid = self.fine.begin(images)
        coarse, coarse_turn, coarse_grid = self.coarse.begin(images)
        for i, (to_coarse, to_fine) in enumerate(zip(self.to_coarse, self.to_fine, strict=True)):
            fine, coarse = self.fine.work(fine, fine_turn, i), self.coarse.work(coarse, coarse_turn, i)
            fine, coarse = to_coarse(fine, coarse), to_fine(coarse, fine)
        coarse_cells = self.norm(coarse[:, 1:] + coarse[:, :1] + self.join(fine[:, :1]))
        fine_cells = fine[:, 1:] + fine[:, :1]
        # Without weights of its own, which heads that look at the last map alone would leave untrained.
        fine_cells = F.layer_norm(fine_cells, fine_cells.shape[-1:])
        return [
            FeatureMap(cells.transpose(1, 2).unflatten(2, grid), branch.patch)
            for cells, grid, branch in ((fine_cells, fine_grid, self.fine), (coarse_cells, coarse_grid, self.coarse))
        ]

    def trace(self, layers: Sequence[Attended], maps: Sequence[FeatureMap]) -> list[FeatureMap]:
        """See ``Traceable``: the last map is coarse cells and both summaries; these look at the other branch."""
        left, (fine, coarse) = list(layers), (F.pad(evenly(m) / 3, (1, 0), value=1 / 3) for m in maps)
        fine[:, 1:] = 0
        for _ in self.to_fine:
            to_fine, to_coarse = left.pop(), left.pop()
            fine, coarse = exchanged(fine, coarse, to_coarse, to_fine)
            for _ in range(self.coarse.depth):
                coarse = through(coarse, left.pop())
            for _ in range(self.fine.depth):
                fine = through(fine, left.pop())
        return [
            FeatureMap(shares[:, 1:].unflatten(1, (1, *m.grid)), m.stride)
            for shares, m in zip((fine, coarse), maps, strict=True)
        ]


class Branch(nn.Module):
    """A vision transformer on patches of one size, with a summary token in front and its blocks in rounds."""

    def __init__(
        self,
        image_size: int,
        channels: int,
        dim: int,
        patch: int,
        heads: int,
        rounds: int,
        depth: int,
        mlp: int,
        stem: str,
        position: str,
        drop_path: float,
        uneven: Literal["pad", "crop"],
    ):
        super().__init__()
        self.patch, self.depth = patch, depth
        self.uneven: Literal["pad", "crop"] = uneven
        self.stem = chosen(STEMS, stem, "stem of crossvit")(channels, dim, patch)
        side = max(1, -(-image_size // patch) if uneven == "pad" else image_size // patch)
        self.position = chosen(POSITIONS, position, "position of crossvit")(dim, heads, (side, side))
        self.summary = nn.Parameter(torch.empty(1, dim))
        count = rounds * depth
        self.blocks = nn.ModuleList(Block(dim, heads, mlp * dim, drop_path * (i + 1) / count) for i in range(count))

    def begin(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor] | None, tuple[int, int]]:
        """Summary and patches of ``images``, (B, 1 + N, D); what turns queries and keys; the grid."""
        x = self.stem(fit(images, self.patch, self.uneven))
        grid = (x.shape[2], x.shape[3])
        ids = torch.arange(grid[0] * grid[1], device=x.device).expand(x.shape[0], -1)
        x, turn = self.position(Tokens(x.flatten(2).transpose(1, 2), grid, ids))
        return torch.cat([self.summary.expand(x.shape[0], -1, -1).to(x.dtype), x], 1), turn, grid

    def work(self, x: Tensor, turn: tuple[Tensor, Tensor] | None, number: int) -> Tensor:
        """The blocks of round ``number``, (B, 1 + N, D) to the same."""
        for block in list(self.blocks)[number * self.depth : (number + 1) * self.depth]:
            x = block(x, turn)
        return x


class Exchange(nn.Module):
    """The summary of one branch attends to itself and to the patches of the other: section 3.3 of the paper.

    The paper hands on g(y) in place of the summary; here it is added to it. g and the projection f to the other width
    begin small, and without the sum the summary of earlier rounds would be gone.
    """

    def __init__(self, dim: int, other: int, heads: int):
        super().__init__()
        self.heads = heads
        self.f = nn.Linear(dim, other)
        self.norm = nn.LayerNorm(other, eps=1e-6)
        self.q = nn.Linear(other, other)
        self.kv = nn.Linear(other, 2 * other)
        self.out = nn.Linear(other, other)
        self.g = nn.Linear(other, dim)

    def forward(self, own: Tensor, others: Tensor) -> Tensor:
        """``own`` (B, 1 + N, D) with its summary informed by the patches of ``others`` (B, 1 + M, A)."""
        y = self.f(own[:, :1])
        x = self.norm(torch.cat([y, others[:, 1:]], 1))
        parts = (self.q(x[:, :1]), *self.kv(x).chunk(2, 2))
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)  # (B, K, 1 or 1 + M, E)
        y = y + self.out(attend(q, k, v).transpose(1, 2).flatten(2))
        return torch.cat([own[:, :1] + self.g(y), own[:, 1:]], 1)


def exchanged(fine: Tensor, coarse: Tensor, to_coarse: Attended, to_fine: Attended) -> tuple[Tensor, Tensor]:
    """Shares (B, 1 + N) and (B, 1 + M) of both branches after an exchange as shares of them before it.

    Of a summary, half is as it was and half is y, itself half the summary and half what it saw (see ``Exchange``).
    """
    before = [fine.clone(), coarse.clone()]
    for own, shares, other, layer in ((0, fine, 1, to_coarse), (1, coarse, 0, to_fine)):
        seen = shares[:, :1] / 4 * layer.weights.mean(1)[:, 0]  # of the summary, then of the other's patches
        before[own][:, 0] += seen[:, 0] - shares[:, 0] / 4
        before[other][:, 1:] += seen[:, 1:]
    return before[0], before[1]

"""The vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929), the reference backbone.

Plain and pre-norm, with the additions that have earned their keep since: a convolutional stem (Xiao et al. 2021,
arXiv 2106.14881), registers (Darcet et al. 2023, arXiv 2309.16588), stochastic depth (Huang et al. 2016, arXiv
1603.09382) and a choice of positions. There is no class token; a head pools the feature map.

Shapes: B images, C channels, H x W pixels, a grid of h x w patches, N tokens of width D, K heads of width E.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.errors import InputError, chosen
from arcformer.models.backbone import BACKBONES, TokenBackbone, Tokens
from arcformer.models.fitting import check_channels, fit
from arcformer.models.position import POSITIONS, rotate

__all__ = ["SIZES", "Size", "VisionTransformer", "attend", "initialise", "skip"]


@dataclass(frozen=True)
class Size:
    """What a name stands for where nothing else is said; ``mlp`` None is 4 ``dim``."""

    dim: int
    depth: int
    heads: int
    mlp: int | None = None
    patch: int = 8
    stem: Literal["patch", "conv"] = "conv"


SIZES = {
    "tiny": Size(dim=128, depth=4, heads=4),
    "small": Size(dim=384, depth=12, heads=6),
    "base": Size(dim=768, depth=12, heads=12),
    "classifier-3x3": Size(dim=768, depth=3, heads=3, mlp=1024, patch=16, stem="patch"),
    "autoencoder-4x4": Size(dim=256, depth=4, heads=4, patch=30, stem="patch"),
}
"""Sizes by name. ``small`` and ``base`` are ViT-S and ViT-B of the literature. The two named after layers x heads are
for images of 150 x 150 pixels: a classifier of lenses, and the encoder of an autoencoder. ``registers=1`` and
``position="learned"`` give them the class token and the positions of the originals; ``uneven="crop"`` leaves out the
edge that holds no patch of 16."""


@BACKBONES.register("vit")
class VisionTransformer(TokenBackbone):
    """A vision transformer for images of any size.

    Args:
        image_size: side of most images, pixels. Learned positions are laid out for it and interpolated to others.
        channels: number of channels of the images.
        size: ``tiny`` (0.9 M parameters), ``small`` (22 M), ``base`` (89 M), ``classifier-3x3`` (12 M) or
            ``autoencoder-4x4`` (3.4 M); ``dim``, ``depth``, ``heads``, ``mlp``, the hidden width of the perceptrons
            (4 ``dim`` unless the size has its own), ``patch`` and ``stem`` each override it.
        patch: side of a patch, pixels; with a convolutional stem, a power of two. 8 unless the size has its own.
        stem: ``patch`` (one linear map a patch) or ``conv`` (strided 3 x 3 convolutions, which learn faster). ``conv``
            unless the size has its own.
        position: ``sincos`` or ``learned`` (added to the tokens) or ``rotary`` (turns queries and keys).
        registers: number of extra tokens that belong to no patch, seen by all and dropped at the end.
        drop_path: probability with which the last block is skipped in training, per image; earlier ones in proportion.
        uneven: what happens where the patch does not divide the image: ``pad`` with zeros on all sides, or ``crop`` to
            the central part.
        eps: what the norms add to the variance; 1e-12 for weights of transformers' ViT.

    Raises:
        InputError: for options that do not fit together.
    """

    def __init__(
        self,
        image_size: int,
        channels: int,
        *,
        size: Literal["tiny", "small", "base", "classifier-3x3", "autoencoder-4x4"] = "tiny",
        dim: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        mlp: int | None = None,
        patch: int | None = None,
        stem: Literal["patch", "conv"] | None = None,
        position: Literal["sincos", "learned", "rotary"] = "sincos",
        registers: int = 0,
        drop_path: float = 0.0,
        uneven: Literal["pad", "crop"] = "pad",
        eps: float = 1e-6,
    ):
        super().__init__()
        preset = chosen(SIZES, size, "size of vit")
        dim = preset.dim if dim is None else dim
        depth = preset.depth if depth is None else depth
        heads = preset.heads if heads is None else heads
        mlp = (preset.mlp or 4 * dim) if mlp is None else mlp
        patch = preset.patch if patch is None else patch
        if min(dim, depth, heads, mlp, patch) < 1 or registers < 0:
            given = f"{dim=}, {depth=}, {heads=}, {mlp=}, {patch=}, {registers=}"
            raise InputError(f"vit: sizes must be positive (registers may be 0), got {given}")
        if dim % (4 * heads):
            raise InputError(f"vit: dim {dim} is not a multiple of 4 * heads = {4 * heads}; change one of them")
        if not 0 <= drop_path < 1:
            raise InputError(f"vit: drop_path is a probability in [0, 1), got {drop_path}")
        if not eps > 0:
            raise InputError(f"vit: eps must be positive, got {eps}")
        self.dim, self.stride, self.channels = dim, patch, channels
        self.uneven: Literal["pad", "crop"] = uneven
        self.stem = chosen(STEMS, preset.stem if stem is None else stem, "stem of vit")(channels, dim, patch)
        side = max(1, -(-image_size // patch) if uneven == "pad" else image_size // patch)
        self.position = chosen(POSITIONS, position, "position of vit")(dim, heads, (side, side))
        self.registers = nn.Parameter(torch.empty(registers, dim)) if registers else None
        rates = [drop_path * (i + 1) / depth for i in range(depth)]
        self.blocks = nn.ModuleList(Block(dim, heads, mlp, rate, eps) for rate in rates)
        self.norm = nn.LayerNorm(dim, eps)
        self.apply(initialise)
        if self.registers is not None:
            nn.init.trunc_normal_(self.registers, std=0.02)

    def tokenize(self, images: Tensor, context: Tensor | None = None) -> Tokens:
        """Patches of ``images`` (B, C, H, W) as tokens; ``context`` is carried along and not looked at.

        Raises:
            InputError: for another number of channels, or an image smaller than a patch that is to be cropped.
        """
        check_channels("vit", images, self.channels)
        x = self.stem(fit(images, self.stride, self.uneven))
        grid = (x.shape[2], x.shape[3])
        ids = torch.arange(grid[0] * grid[1], device=x.device).expand(x.shape[0], -1)
        return Tokens(x.flatten(2).transpose(1, 2).contiguous(), grid, ids, context)

    def encode(self, tokens: Tokens) -> Tokens:
        """Tokens that have attended to each other; positions follow their ids, so any subset will do."""
        x, turn = self.position(tokens)
        if self.registers is not None:
            x = torch.cat([self.registers.expand(x.shape[0], -1, -1).to(x.dtype), x], 1)
        for block in self.blocks:
            x = block(x, turn)
        return Tokens(self.norm(x[:, x.shape[1] - tokens.x.shape[1] :]), tokens.grid, tokens.ids, tokens.context)


class Block(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x)); each branch skipped for an image with ``drop_path``."""

    def __init__(self, dim: int, heads: int, mlp: int, drop_path: float, eps: float = 1e-6):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps)
        self.attention = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp), nn.GELU(), nn.Linear(mlp, dim))
        self.drop_path = drop_path

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """(B, N, D) to (B, N, D); ``turn`` as in ``Attention``."""
        rate = self.drop_path if self.training else 0.0
        x = x + skip(self.attention(self.norm1(x), turn), rate)
        return x + skip(self.mlp(self.norm2(x)), rate)


def skip(branch: Tensor, rate: float) -> Tensor:
    """A residual branch (B, ...), zero with probability ``rate`` for each image, its mean kept."""
    if rate == 0:
        return branch
    keep = 1 - rate
    return branch * branch.new_empty(branch.shape[0], *[1] * (branch.ndim - 1)).bernoulli_(keep).div_(keep)


class Attention(nn.Module):
    """Multi-head self-attention with one matrix for queries, keys and values."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """(B, N, D) to (B, N, D); ``turn``, cosines and sines (B, M, E / 2), rotates the last M queries and keys."""
        parts = self.qkv(x).chunk(3, 2)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)  # each (B, K, N, E)
        if turn is not None:
            q, k = rotate(q, *turn), rotate(k, *turn)
        return self.out(attend(q, k, v).transpose(1, 2).flatten(2))


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, scale: float | None = None) -> Tensor:
    """Scaled dot-product attention, (B, K, N, E); short sequences of bfloat16 on a CPU are attended to in float32.

    ``bias`` (B, K, N, N), where given, is added to the products; ``scale`` multiplies them, 1 / sqrt(E) by default.

    There, torch's bfloat16 kernel takes three times as long forward and backward (N = 64, torch 2.13), and with it half
    of the whole training step of a small network; from a few hundred tokens on the two are even.
    """
    if q.dtype != torch.bfloat16 or q.device.type != "cpu" or q.shape[2] > 256:
        return F.scaled_dot_product_attention(q, k, v, bias, scale=scale)
    with torch.autocast("cpu", enabled=False):
        bias = None if bias is None else bias.float()
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), bias, scale=scale).to(q.dtype)


class PatchStem(nn.Conv2d):
    """One linear map of each patch."""

    def __init__(self, channels: int, dim: int, patch: int):
        super().__init__(channels, dim, patch, stride=patch)


class ConvStem(nn.Sequential):
    """3 x 3 convolutions of stride 2 whose width doubles up to ``dim``, then a 1 x 1 convolution.

    The normalisation is over each image alone, so that batches of one work and images do not see each other. The
    convolutions keep their biases, without which it would throw the flux of the image away.
    """

    def __init__(self, channels: int, dim: int, patch: int):
        steps = patch.bit_length() - 1
        if patch < 2 or patch != 2**steps:
            raise InputError(f"a convolutional stem needs a patch that is a power of two, got {patch}")
        if dim % 2 ** (steps - 1):
            raise InputError(f"a convolutional stem of patch {patch} needs a dim divisible by {2 ** (steps - 1)}")
        widths = [channels, *(dim // 2 ** (steps - 1 - i) for i in range(steps))]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(1, after), nn.GELU()]
        super().__init__(*layers, nn.Conv2d(dim, dim, 1))


STEMS = {"patch": PatchStem, "conv": ConvStem}


def initialise(module: nn.Module) -> None:
    """Weights drawn small, biases zero; for ``nn.Module.apply``."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):  # by fan-in: convolutions see few inputs, for which 0.02 would be too small
        nn.init.trunc_normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

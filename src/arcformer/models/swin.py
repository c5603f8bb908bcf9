"""The Swin Transformer V2 (Liu et al. 2022, arXiv 2111.09883): attention in windows, on grids that get coarser.

Attention is within windows of w x w cells, so its cost grows with the area of the image and not with the square of it;
every second block shifts the windows by half their side (Swin V1, Liu et al. 2021, arXiv 2103.14030). A stage of blocks
ends where 2 x 2 cells are merged into one of twice the width. V2 added what keeps training stable: norms at the end of
the residual branches, products of unit vectors with a learned scale, and a bias of position that is a smooth function
of the distance between two cells, given by a small perceptron. The blocks are in ``windows.py``.

Shapes: B images, C channels, H x W pixels, a grid of h x w cells of width D, M windows of N = w * w cells, K heads of
width E. Inside, the width comes last: (B, h, w, D).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from arcformer.errors import InputError, chosen
from arcformer.models.attention import Attended, averaged, evenly, within
from arcformer.models.backbone import BACKBONES, Backbone, FeatureMap
from arcformer.models.fitting import check_channels, fit
from arcformer.models.windows import Merge, Stage, check_stages, initialise

__all__ = ["SIZES", "Size", "SwinV2"]


@dataclass(frozen=True)
class Size:
    """What a name stands for where nothing else is said."""

    dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int


SIZES = {
    "tiny": Size(dim=96, depths=(2, 2), heads=(3, 6), window=4),
    "small": Size(dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), window=8),
}
"""Sizes by name: ``small`` is the paper's SwinV2-T; ``tiny``, its first two stages, suits images of some 64 pixels."""


@BACKBONES.register("swin")
class SwinV2(Backbone):
    """A Swin Transformer V2 for images of any size: one feature map a stage, finest first.

    Where the patch does not divide the image, the image is padded with zeros on all sides; where the window does not
    divide a grid, so is the grid, and no cell of the image sees the cells that were added. A grid with an odd side is
    merged with a row or column of zeros at its end.

    Args:
        image_size: side of most images, pixels. Windows are no larger than the grid that a stage has for it.
        channels: number of channels of the images.
        size: ``tiny`` (1.2 M parameters) or ``small`` (28 M); ``dim``, ``depths``, ``heads`` and ``window`` each
            override it.
        dim: width of the first stage; it doubles from stage to stage.
        depths: number of blocks of each stage.
        heads: number of heads of each stage.
        patch: side of a patch, pixels.
        window: side of a window, cells.
        mlp_ratio: hidden width of the perceptrons, in units of the width of their stage.
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
        dim: int | None = None,
        depths: tuple[int, ...] | None = None,
        heads: tuple[int, ...] | None = None,
        patch: int = 4,
        window: int | None = None,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
    ):
        super().__init__()
        preset = chosen(SIZES, size, "size of swin")
        dim = preset.dim if dim is None else dim
        depths = preset.depths if depths is None else depths
        heads = preset.heads if heads is None else heads
        window = preset.window if window is None else window
        if patch <= 0:
            raise InputError(f"swin: patch must be positive, got {patch}")
        check_stages("swin", [dim * 2**i for i in range(len(depths))], depths, heads, window, mlp_ratio, drop_path)
        self.patch, self.channels, self.depths, self.dim = patch, channels, tuple(depths), dim * 2 ** (len(depths) - 1)
        self.stem = nn.Conv2d(channels, dim, patch, stride=patch)
        self.stem_norm = nn.LayerNorm(dim)
        rates = [drop_path * (i + 1) / sum(depths) for i in range(sum(depths))]
        self.stages, side = nn.ModuleList(), max(1, -(-image_size // patch))
        for i, (depth, number) in enumerate(zip(depths, heads, strict=True)):
            if i:
                side = -(-side // 2)
            wide = dim * 2**i
            merge = Merge(wide // 2) if i else None
            stage = Stage(
                wide, number, min(window, side), int(mlp_ratio * wide), [rates.pop(0) for _ in range(depth)], merge
            )
            self.stages.append(stage)
        self.norm = nn.LayerNorm(self.dim)
        self.apply(initialise)

    def features(self, images: Tensor, context: Tensor | None = None) -> list[FeatureMap]:
        """One feature map a stage of ``images`` (B, C, H, W), the last one normalised; ``context`` is not looked at.

        Raises:
            InputError: for another number of channels.
        """
        check_channels("swin", images, self.channels)
        x = self.stem_norm(self.stem(fit(images, self.patch)).permute(0, 2, 3, 1))
        grids = []
        for stage in self.stages:
            x = stage(x)
            grids.append(x)
        grids[-1] = self.norm(x)
        return [FeatureMap(x.permute(0, 3, 1, 2), self.patch * 2**i) for i, x in enumerate(grids)]

    def trace(self, layers: Sequence[Attended], maps: Sequence[FeatureMap]) -> list[FeatureMap]:
        """See ``Traceable``: through the windows of each block, and from merged cells to those that were merged."""
        left, shares = list(layers), evenly(maps[-1])
        for k in reversed(range(len(self.stages))):
            stage: Stage = self.stages[k]  # pyright: ignore[reportAssignmentType]
            for cells in reversed(stage.windows(maps[k].grid, shares.device)):
                shares = within(shares, left.pop(), cells)
            if k:
                shares = averaged(shares, maps[k - 1].grid, kernel=2, stride=2)
        return [FeatureMap(shares.unflatten(1, (1, *maps[0].grid)), self.patch)]

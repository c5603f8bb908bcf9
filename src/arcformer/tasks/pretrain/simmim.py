"""SimMIM (Xie et al. 2021, arXiv 2111.09886): masked images for every backbone, also those that need all their cells.

Hidden pixels are replaced by a learned value, and one linear map of the last feature map gives them back.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.models import Backbone, PixelHead
from arcformer.tasks.base import TASKS
from arcformer.tasks.pretrain.draws import Draws
from arcformer.tasks.pretrain.masking import Masks, hide, on_pixels
from arcformer.tasks.pretrain.misfit import Misfit
from arcformer.tasks.pretrain.reconstruction import FillsIn
from arcformer.tasks.shown import channels_and_stride

__all__ = ["SimMIM", "repainted"]


@TASKS.register("simmim")
class SimMIM(FillsIn):
    """Pretraining by masked images.

    Args:
        backbone: any.
        classes: names of the classes; may be empty.
        ratio: the share of the cells that is hidden.
        cell: side of a cell, pixels; not smaller than the patch of the backbone, or it sees a part of each.
        masks: ``random``, ``arcs``, bright cells rather than sky, or ``blocks``; see ``masking.hide``.
        loss: ``chi2`` or ``mse``, see ``misfit.misfit``.
        least_rank: see ``Objective``.

    Raises:
        InputError: for options that cannot be.
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: Sequence[str],
        *,
        ratio: float = 0.6,
        cell: int = 8,
        masks: Masks = "random",
        loss: Misfit = "chi2",
        least_rank: float = 1.5,
    ):
        super().__init__(backbone, classes, ratio, masks, loss, least_rank)
        if cell < 1:
            raise InputError(f"simmim: cell is the side of what is hidden, at least 1 pixel, got {cell}")
        self.cell = cell
        channels, stride = channels_and_stride(backbone)
        self.blank = nn.Parameter(torch.zeros(channels, 1, 1))
        self.head = PixelHead(backbone.dim, channels, stride)

    def filled(self, batch: LensBatch, draws: Draws) -> tuple[Tensor, Tensor]:
        """The pixels that the head gives, (B, C, H, W), and where they were hidden, (B, 1, H, W)."""
        images, (height, width) = batch.images, batch.images.shape[-2:]
        grid = (-(-height // self.cell), -(-width // self.cell))
        _, cells = hide(images, grid, self.cell, ratio=self.ratio, masks=self.masks, draws=draws)
        hidden = on_pixels(cells, grid, self.cell, height, width)
        return repainted(self.backbone, self.blank, self.head, batch, hidden), hidden


def repainted(backbone: Backbone, blank: Tensor, head: PixelHead, batch: LensBatch, hidden: Tensor) -> Tensor:
    """The pixels (B, C, H, W) that ``head`` gives where those ``hidden`` (B, 1, H, W) are replaced by ``blank``."""
    features = backbone.features(torch.where(hidden, blank, batch.images), batch.context)
    return head(features, *batch.images.shape[-2:]).float()

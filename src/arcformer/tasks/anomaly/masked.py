"""Masked reconstruction: each cell is told from the others, by a network that has only seen normal images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.models import Backbone, PixelHead
from arcformer.tasks.anomaly.residual import Measure, Noise, OfResiduals, Residual
from arcformer.tasks.anomaly.statistic import STATISTICS
from arcformer.tasks.pretrain.draws import Draws
from arcformer.tasks.pretrain.masking import hide, on_pixels
from arcformer.tasks.pretrain.misfit import Misfit, check_misfit, misfit
from arcformer.tasks.pretrain.simmim import repainted
from arcformer.tasks.shown import channels_and_stride

__all__ = ["Masked"]


@STATISTICS.register("masked")
class Masked(OfResiduals):
    """The residual of what is hidden from a network (SimMIM), over masks that together hide every cell once.

    In training ``1 / masks`` of the cells are hidden at random, in scoring the cells are dealt out to the masks once
    and for all, and the network sees the image as often. It learns the image without noise, where the simulator gives
    it, else the image. See ``residual.Residual`` for the score.

    Args:
        backbone: any.
        masks: how many; more hide less at a time, and take longer.
        cell: side of a cell, pixels.
        loss: ``chi2`` or ``mse``, see ``misfit.misfit``.
        score: ``chi2`` or ``mse``.
        noise: ``learned`` or ``known``.
        smooth: width of the Gaussian by which the residual is smoothed, pixels; 0: not at all.
        cells: parts on a side over which residuals are averaged and compared with typical ones; 0: none.

    Raises:
        InputError: for options that cannot be.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        masks: int = 4,
        cell: int = 8,
        loss: Misfit = "chi2",
        score: Measure = "chi2",
        noise: Noise = "learned",
        smooth: float = 1.0,
        cells: int = 16,
    ):
        super().__init__(backbone)
        check_misfit(loss)
        if masks < 2 or cell < 1:
            raise InputError(f"masked: {masks=}, {cell=}: expected two masks at least, and cells of a pixel at least")
        channels, stride = channels_and_stride(backbone)
        self.measure: Misfit = loss
        self.masks, self.cell = masks, cell
        self.blank = nn.Parameter(torch.zeros(channels, 1, 1))
        self.head = PixelHead(backbone.dim, channels, stride)
        self.residual = Residual(channels, score, noise, smooth, cells)

    def loss(self, batch: LensBatch) -> Tensor:
        """The misfit of hidden pixels."""
        images, grid = batch.images, self._grid(batch.images)
        _, cells = hide(images, grid, self.cell, ratio=1 / self.masks, masks="random", draws=Draws())
        hidden = on_pixels(cells, grid, self.cell, *images.shape[-2:])
        found = repainted(self.backbone, self.blank, self.head, batch, hidden)
        return misfit(found, batch.extras.get("clean", images), batch, self.measure, hidden)

    def reconstruct(self, batch: LensBatch) -> Tensor:
        """(B, C, H, W), float32, in the range of the transform; every pixel from images in which it was hidden."""
        images, grid = batch.images, self._grid(batch.images)
        order = Draws.fixed(images.device).uniform(len(images), grid[0] * grid[1], device=images.device).argsort(1)
        whole = torch.zeros_like(images, dtype=torch.float32)
        for mask in range(self.masks):
            hidden = on_pixels(order[:, mask :: self.masks], grid, self.cell, *images.shape[-2:])
            whole = torch.where(hidden, repainted(self.backbone, self.blank, self.head, batch, hidden), whole)
        return whole

    def _grid(self, images: Tensor) -> tuple[int, int]:
        height, width = images.shape[-2:]
        return -(-height // self.cell), -(-width // self.cell)

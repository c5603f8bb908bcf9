"""What statistics on features share: pooled vectors of a frozen backbone, and cells that become a map of the image."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from arcformer.batch import LensBatch
from arcformer.models import FeatureMap
from arcformer.models.fitting import centred
from arcformer.tasks.anomaly.statistic import Statistic

__all__ = ["FeatureStatistic", "on_image"]


class FeatureStatistic(Statistic):
    """A statistic on features of a backbone that stays as it is: random, or trained by the run that ``init`` names."""

    frozen: ClassVar[bool] = True

    @torch.no_grad()
    def maps(self, batch: LensBatch) -> list[FeatureMap]:
        """The feature maps, finest first."""
        return self.backbone.features(batch.images, batch.context)

    def pooled(self, batch: LensBatch) -> Tensor:
        """(B, D), the mean over the cells of the last feature map."""
        return self.maps(batch)[-1].mean()


def on_image(cells: Tensor, stride: int, height: int, width: int) -> Tensor:
    """Numbers of cells (B, h, w) as maps (B, height, width), each pixel with that of its cell."""
    planes = cells.repeat_interleave(stride, 1).repeat_interleave(stride, 2)
    return centred(planes, height, width)


def resized(fitted: Tensor, grid: tuple[int, int]) -> Tensor:
    """What was fitted for each cell, (D, h, w), on another grid."""
    if fitted.shape[-2:] == grid:
        return fitted
    return F.interpolate(fitted[None], grid, mode="bilinear", align_corners=False)[0]

"""What objectives share that fill in hidden pixels: the loss, and a prediction that can be looked at."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.models import Backbone
from arcformer.tasks.pretrain.draws import Draws
from arcformer.tasks.pretrain.masking import Masks, check_masks
from arcformer.tasks.pretrain.misfit import Misfit, check_misfit, misfit
from arcformer.tasks.pretrain.objective import Objective, Scored

__all__ = ["FillsIn", "Reconstruction"]


@dataclass(frozen=True)
class Reconstruction(Scored):
    """Attributes:
    image: (B, C, H, W), with what was hidden filled in, in the range of the transform.
    hidden: (B, 1, H, W), where that is.
    """

    image: Tensor
    hidden: Tensor


class FillsIn(Objective):
    """An objective that hides cells of an image and has ``filled`` give their pixels; only these count."""

    truth: ClassVar[Literal["none", "noise", "useful", "needed"]] = "useful"  # the noise

    def __init__(
        self, backbone: Backbone, classes: Sequence[str], ratio: float, masks: Masks, loss: Misfit, least_rank: float
    ):
        super().__init__(backbone, classes, least_rank=least_rank)
        check_masks(ratio, masks)
        check_misfit(loss)
        self.ratio = ratio
        self.masks: Masks = masks
        self.measure: Misfit = loss

    @abstractmethod
    def filled(self, batch: LensBatch, draws: Draws) -> tuple[Tensor, Tensor]:
        """Pixels (B, C, H, W), float32, which are right where something was hidden; and where, (B, 1, H, W)."""

    def losses(self, batch: LensBatch, draws: Draws) -> Tensor:
        """The misfit of the hidden pixels."""
        found, hidden = self.filled(batch, draws)
        return misfit(found, batch.images, batch, self.measure, hidden)

    def predict(self, batch: LensBatch) -> Reconstruction:
        """Features of the whole image, and the image with what one fixed mask hides filled in."""
        found, hidden = self.filled(batch, Draws.fixed(batch.images.device))
        losses = misfit(found, batch.images, batch, self.measure, hidden)
        features = self.pooled(batch.images, batch.context)
        return Reconstruction(features, losses, torch.where(hidden, found, batch.images), hidden)

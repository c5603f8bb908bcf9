"""Contrast (SimCLR; Chen et al. 2020, arXiv 2002.05709): two views of a lens are near, those of other lenses far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from arcformer.batch import LensBatch
from arcformer.data.symmetry import Symmetries
from arcformer.errors import InputError
from arcformer.metrics import NTXent, nt_xent
from arcformer.models import Backbone
from arcformer.tasks.base import TASKS
from arcformer.tasks.pretrain.draws import Draws
from arcformer.tasks.pretrain.objective import Features, Objective
from arcformer.tasks.pretrain.views import Views

__all__ = ["SimCLR", "TwoViews"]


@dataclass(frozen=True)
class TwoViews(Features):
    """Attributes:
    first, second: (B, E), what is contrasted, of unit length.
    """

    first: Tensor
    second: Tensor


@TASKS.register("simclr")
class SimCLR(Objective):
    """Pretraining by contrast. With several processes each contrasts its own images.

    There is no norm over the batch in the projector, so that a batch of one works and images do not see each other.

    Args:
        backbone: any.
        classes: names of the classes; may be empty.
        temperature: of NT-Xent.
        projection: E, the width of what is contrasted.
        symmetries, blur, shift, noise: see ``Views``.
        least_rank: see ``Objective``.

    Raises:
        InputError: for options that cannot be.
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: Sequence[str],
        *,
        temperature: float = 0.2,
        projection: int = 128,
        symmetries: Symmetries = "dihedral",
        blur: float = 1.0,
        shift: float = 0.5,
        noise: float = 1.0,
        least_rank: float = 1.5,
    ):
        super().__init__(backbone, classes, least_rank=least_rank)
        if not temperature > 0 or projection < 1:
            raise InputError(f"simclr: {temperature=}, {projection=}: expected positive numbers")
        self.temperature, self.views = temperature, Views(symmetries, blur, shift, noise)
        self.projector = nn.Sequential(
            nn.Linear(backbone.dim, 2 * projection), nn.ReLU(), nn.Linear(2 * projection, projection)
        )

    def losses(self, batch: LensBatch, draws: Draws) -> Tensor:
        """NT-Xent among the images of the batch, nats."""
        return nt_xent(*self.contrasted(batch, draws), self.temperature)

    def predict(self, batch: LensBatch) -> TwoViews:
        """Features of the image, and what is contrasted of two views of it, which are drawn alike for all images."""
        views = self.contrasted(batch, Draws.fixed(batch.images.device))
        return TwoViews(self.pooled(batch.images, batch.context), *views)

    def contrasted(self, batch: LensBatch, draws: Draws) -> tuple[Tensor, Tensor]:
        """Two views, (B, E) each."""
        views = torch.cat([self.views(batch, draws) for _ in range(2)])
        context = None if batch.context is None else torch.cat([batch.context] * 2)
        first, second = F.normalize(self.projector(self.pooled(views, context)).float(), dim=1).chunk(2)
        return first, second

    def loss_metric(self) -> Metric:
        """NT-Xent among all images: in small batches it is easier to tell them apart."""
        return NTXent(self.temperature)

    def watched(self, prediction: Any, batch: LensBatch) -> Mapping[str, Tensor | None]:
        return self.seen(prediction, batch) | {"first": prediction.first, "second": prediction.second}

"""A student that has learned to say what a teacher says, of normal images (Bergmann et al. 2020, arXiv 1911.02357).

Where the image is unlike those, the student has never been told, and differs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.batch import LensBatch
from arcformer.models import Backbone
from arcformer.models.vit import initialise
from arcformer.tasks.anomaly.features import FeatureStatistic, on_image, resized
from arcformer.tasks.anomaly.statistic import STATISTICS, Scores
from arcformer.tasks.shown import shown

__all__ = ["Distilled"]


@STATISTICS.register("distillation")
class Distilled(FeatureStatistic):
    """How far the features of a student are from those of the backbone, its teacher, which stays as it is.

    The student is another network of the same kind, whose weights are those of the teacher, mixed up. The distance is
    that of the cells of the last feature map, each cell's features scaled to mean 0 and variance 1; ``sigmas`` is by
    how much it exceeds what is usual at its place, in units of how it scatters there, and 0 where it does not; the
    score is the mean of that, of both signs.

    Args:
        backbone: any; best one that the run of ``init`` has trained.
    """

    usual: Tensor
    scatter: Tensor

    def __init__(self, backbone: Backbone):
        super().__init__(backbone)
        self.student = copy.deepcopy(backbone).requires_grad_(True)
        with torch.no_grad():
            for weight in self.student.parameters():
                if weight.ndim > 1:
                    weight.copy_(weight.flatten()[torch.randperm(weight.numel(), device=weight.device)].view_as(weight))
        self.predictor = nn.Conv2d(backbone.dim, backbone.dim, 1)
        initialise(self.predictor)
        grid = shown(backbone)[1][-1].grid
        self.register_buffer("usual", torch.zeros(grid))
        self.register_buffer("scatter", torch.ones(grid))

    def loss(self, batch: LensBatch) -> Tensor:
        """The mean of the distance over cells."""
        return self._distances(batch)[0].mean((1, 2))

    def score(self, batch: LensBatch) -> Scores:
        """By how much the distance exceeds the usual one, and where."""
        far, stride = self._distances(batch)
        grid = (far.shape[1], far.shape[2])
        odd = (far - resized(self.usual[None], grid)[0]) / resized(self.scatter[None], grid)[0]
        return Scores(odd.mean((1, 2)), on_image(odd.clamp_min(0), stride, *batch.images.shape[-2:]))

    @torch.no_grad()
    def fit(self, batches: Iterable[LensBatch]) -> None:
        """What distance is usual at each place, and how it scatters there."""
        count, first, second = 0, self.usual.new_zeros(()).double(), self.usual.new_zeros(()).double()
        for batch in batches:
            far = self._distances(batch)[0].double()
            count, first, second = count + len(far), first + far.sum(0), second + far.square().sum(0)
        mean = first / max(count, 1)
        scatter = (second / max(count, 1) - mean.square()).clamp_min(0).sqrt()
        self.usual = mean.to(self.usual)
        self.scatter = scatter.clamp_min(1e-6 * float(mean.abs().mean()) + 1e-12).to(self.scatter)

    def _distances(self, batch: LensBatch) -> tuple[Tensor, int]:
        """(B, h, w), and the stride of the cells."""
        taught = self.maps(batch)[-1]
        said = self.predictor(self.student.features(batch.images, batch.context)[-1].x).float()
        wanted, found = (F.layer_norm(x.movedim(1, -1), x.shape[1:2]) for x in (taught.x.float(), said))
        return (found - wanted).square().mean(-1), taught.stride

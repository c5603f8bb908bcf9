"""How far features are from those of normal images, in units of their scatter (Lee et al. 2018, arXiv 1807.03888)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from arcformer.batch import LensBatch
from arcformer.models import Backbone
from arcformer.tasks.anomaly.features import FeatureStatistic, on_image, resized
from arcformer.tasks.anomaly.moments import Moments
from arcformer.tasks.anomaly.statistic import STATISTICS, Fitted, Scores
from arcformer.tasks.shown import shown

__all__ = ["Gaussian", "Mahalanobis"]

LEAST = 1e-6
"""Least variance along an axis, as a share of the mean over axes: what does not vary cannot be divided by."""


class Gaussian(Fitted):
    """The mean and the covariance of vectors of D numbers, as buffers."""

    mean: Tensor
    whitening: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("whitening", torch.eye(dim))

    def fit(self, mean: Tensor, covariance: Tensor) -> None:
        """Take both, (D,) and (D, D)."""
        floor = LEAST * covariance.trace() / len(mean) + torch.finfo(torch.float32).tiny
        covariance = covariance + floor * torch.eye(len(mean), dtype=covariance.dtype, device=covariance.device)
        unit = torch.eye(len(mean), dtype=covariance.dtype, device=covariance.device)
        factor = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), unit, upper=False)
        self.mean, self.whitening = mean.to(self.mean), factor.T.contiguous().to(self.whitening)

    def distance(self, x: Tensor) -> Tensor:
        """The squared Mahalanobis distance (...) of vectors (..., D)."""
        return ((x.float() - self.mean) @ self.whitening).square().sum(-1)


@STATISTICS.register("mahalanobis")
class Mahalanobis(FeatureStatistic):
    """The squared Mahalanobis distance of the pooled features of every feature map, summed over maps.

    The covariance is shrunk after Ledoit & Wolf, so that it can be inverted with fewer images than features; it follows
    from sums, in memory that does not grow with the images: 8 D^2 bytes for a map of D channels. ``sigmas`` is how far
    each cell of the last map is from the mean at its place, with one covariance for all places: (d^2 - D) / sqrt(2 D),
    and 0 where that is nearer than usual, which is not odd.

    Args:
        backbone: any; it stays as it is.
    """

    places: Tensor

    def __init__(self, backbone: Backbone):
        super().__init__(backbone)
        maps = shown(backbone)[1]
        self.of_maps = nn.ModuleList(Gaussian(each.x.shape[1]) for each in maps)
        self.of_cells = Gaussian(maps[-1].x.shape[1])
        self.register_buffer("places", torch.zeros_like(maps[-1].x[0], dtype=torch.float32))

    def score(self, batch: LensBatch) -> Scores:
        """Distances, and where."""
        maps = self.maps(batch)
        pooled = zip(self.of_maps, maps, strict=True)
        score = torch.stack([gaussian.distance(each.mean()) for gaussian, each in pooled]).sum(0)  # pyright: ignore
        x = maps[-1].x.float() - resized(self.places, maps[-1].grid)
        freedom = x.shape[1]
        far = (self.of_cells.distance(x.movedim(1, -1)) - freedom) / math.sqrt(2 * freedom)
        return Scores(score, on_image(far.clamp_min(0), maps[-1].stride, *batch.images.shape[-2:]))

    @torch.no_grad()
    def fit(self, batches: Iterable[LensBatch]) -> None:
        """Means and covariances, in one pass."""
        of_maps = [Moments() for _ in self.of_maps]
        cells = Cells()
        for batch in batches:
            maps = self.maps(batch)
            for moments, each in zip(of_maps, maps, strict=True):
                moments.add(each.mean())
            cells.add(maps[-1].x)
        for gaussian, moments in zip(self.of_maps, of_maps, strict=True):
            gaussian.fit(moments.mean, moments.shrunk())  # pyright: ignore[reportCallIssue]
        self.places = cells.mean.to(self.places)
        self.of_cells.fit(cells.mean.new_zeros(len(cells.mean)), cells.covariance)


class Cells:
    """Sums over feature maps (N, D, h, w) for the mean at every place and one covariance about it."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, x: Tensor) -> None:
        x = x.double()
        each = x.movedim(1, -1).flatten(0, 2)
        new = x.sum(0), each.T @ each
        self.sum, self.product = new if not self.count else (self.sum + new[0], self.product + new[1])
        self.count += len(x)

    @property
    def mean(self) -> Tensor:
        """(D, h, w)."""
        return self.sum / self.count

    @property
    def covariance(self) -> Tensor:
        """(D, D)."""
        mean = self.mean.flatten(1)
        return (self.product / self.count - mean @ mean.T) / mean.shape[1]

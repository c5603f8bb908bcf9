"""The density of features of normal images, by a normalizing flow (Durkan et al. 2019, arXiv 1906.04032)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.lazy import LazyComposedTransform
from zuko.transforms import MonotonicRQSTransform

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.models import Backbone
from arcformer.tasks.anomaly.features import FeatureStatistic
from arcformer.tasks.anomaly.moments import Moments
from arcformer.tasks.anomaly.statistic import STATISTICS, Scores, unknown

__all__ = ["Flow"]

LEAST = 1e-4
"""Least standard deviation along an axis, as a share of the largest."""


@STATISTICS.register("flow")
class Flow(FeatureStatistic):
    """-log p of the pooled features under a flow that is trained by maximum likelihood, nats. There is no map.

    The first training images give the principal axes of the features. Along the first ``components`` of them, each in
    units of its scatter, the density is that of neural splines in coupling layers of zuko, which begins as a Gaussian;
    along all others it is a Gaussian of one width (Tipping & Bishop 1999).

    Args:
        backbone: any; it stays as it is.
        components: axes along which the flow bends, at least 2; no more than there are features.
        transforms: coupling layers.
        bins: pieces of each spline, between -5 and 5 standard deviations.
        width: hidden units of the two layers that make splines.

    Raises:
        InputError: for numbers that are too small.
    """

    mean: Tensor
    axes: Tensor
    scatter: Tensor
    rest: Tensor

    def __init__(
        self, backbone: Backbone, *, components: int = 16, transforms: int = 4, bins: int = 8, width: int = 64
    ):
        super().__init__(backbone)
        if min(components, bins) < 2 or min(transforms, width) < 1 or backbone.dim < 2:
            raise InputError(f"flow: {components=}, {transforms=}, {bins=}, {width=}: expected more")
        dim, count = backbone.dim, min(components, backbone.dim)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("axes", torch.eye(dim)[:count].clone())
        self.register_buffer("scatter", torch.ones(count))
        self.register_buffer("rest", torch.ones(()))
        with torch.device("cpu"):  # on the meta device zuko could not count what it masks
            layers = [
                GeneralCouplingTransform(
                    count,
                    0,
                    mask=torch.arange(count) % 2 == k % 2,  # pyright: ignore[reportArgumentType]
                    univariate=MonotonicRQSTransform,
                    shapes=[torch.Size([bins]), torch.Size([bins]), torch.Size([bins - 1])],
                    hidden_features=(width, width),
                )
                for k in range(transforms)
            ]
        for layer in layers:
            for last in layer.hyper[-1].parameters():
                nn.init.zeros_(last)
        self.flow = LazyComposedTransform(*layers).to(torch.get_default_device())

    def score(self, batch: LensBatch) -> Scores:
        """-log p; ``sigmas`` is not known."""
        x = self.pooled(batch) - self.mean
        along = x @ self.axes.T
        left = (x - along @ self.axes).square().sum(1) / self.rest.square()
        with torch.autocast(x.device.type, enabled=False):
            z, stretch = self.flow().call_and_ladj(along / self.scatter)
        squares = z.square().sum(1) + left + len(self.mean) * math.log(2 * math.pi)
        volume = self.scatter.log().sum() + (len(self.mean) - len(self.axes)) * self.rest.log()
        return Scores(squares / 2 - stretch + volume, unknown(batch))

    @torch.no_grad()
    def prepare(self, batches: Sequence[LensBatch]) -> None:
        """The principal axes of the features of ``batches``."""
        moments = Moments()
        for batch in batches:
            moments.add(self.pooled(batch))
        variances, axes = torch.linalg.eigh(moments.covariance)
        count, least = len(self.axes), LEAST**2 * variances[-1].clamp_min(1e-12)
        variances, axes = variances.clamp_min(least).flip(0), axes.T.flip(0)
        self.mean.copy_(moments.mean)
        self.axes.copy_(axes[:count])
        self.scatter.copy_(variances[:count].sqrt())
        self.rest.copy_(variances[count:].mean().sqrt() if len(variances) > count else torch.ones(()))

"""The family of normal images as a smooth function of a few numbers, solved by least squares: there is no network.

Where a lens is in its family its principal components tell; what it looks like there, a function of these, fitted by
least squares to normal images. A network has to be better than this to be worth its training.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.models import Backbone
from arcformer.models.fitting import centred
from arcformer.tasks.anomaly.cosines import Cosines, LeastSquares
from arcformer.tasks.anomaly.moments import Moments
from arcformer.tasks.anomaly.reconstruction import gauss_newton
from arcformer.tasks.anomaly.residual import Measure, Noise, OfResiduals, Residual
from arcformer.tasks.anomaly.statistic import STATISTICS

__all__ = ["Manifold"]

PARTS = 16
"""Parts on a side over which images are averaged before principal components are taken."""

RIDGE = 1e-7
"""Of the least squares, as a share of the mean of the diagonal."""


@STATISTICS.register("manifold")
class Manifold(OfResiduals):
    """What is left of an image when its like among normal images is taken away; the backbone is not looked at.

    An image is sky, its median, and brightness times a shape. z, the first principal components of the shape in 16 x 16
    parts, says which image of the family it is; its shape is A f(z), f being 1, z and cosines of random combinations of
    z (Rahimi & Recht 2007), and A the least squares over training images, without noise where the simulator gives that.
    z and brightness are then refined in units of the noise (``reconstruction.gauss_newton``). See ``residual.Residual``
    for the score. Memory is F (F + pixels) numbers for F features, whatever the number of images, which should be
    several F.

    It needs images of few degrees of freedom: all that varies, but for brightness, is to be seen in ``components``
    numbers.

    Args:
        backbone: any; it is not looked at.
        components: numbers that tell which image of the family it is.
        features: cosines.
        refine: steps of Gauss and Newton.
        score, noise, smooth, cells: see ``reconstruction``.

    Raises:
        InputError: for options that cannot be.
    """

    frozen: ClassVar[bool] = True
    mean: Tensor
    axes: Tensor
    shapes: Tensor

    def __init__(
        self,
        backbone: Backbone,
        *,
        components: int = 6,
        features: int = 512,
        refine: int = 2,
        score: Measure = "chi2",
        noise: Noise = "learned",
        smooth: float = 1.5,
        cells: int = 0,
    ):
        super().__init__(backbone)
        if not 1 <= components <= PARTS**2 or features < 1 or refine < 0:
            given = f"{components=}, {features=}, {refine=}"
            raise InputError(f"manifold: {given}: expected 1 to {PARTS**2} components, a feature at least, and no less")
        self.components, self.refine = components, refine
        self.register_buffer("mean", torch.zeros(0))
        self.register_buffer("axes", torch.zeros(0, components))
        self.cosines = Cosines(components, features)
        self.register_buffer("shapes", torch.zeros(0, 0, 0, 0))
        self.residual = Residual(0, score, noise, smooth, cells)

    @torch.no_grad()
    def fit(self, batches: Iterable[LensBatch]) -> None:
        """Principal components, the family, and the noise: a pass for each."""
        self.residual.forget()
        moments = Moments()
        for batch in batches:
            moments.add(_parts(batch)[0])
        variances, axes = torch.linalg.eigh(moments.covariance)
        axes = axes.flip(1)[:, : self.components] * axes.flip(1)[:, : self.components].sum(0).sign()
        self.mean = moments.mean.to(self.mean)
        self.axes = (axes / variances[-1].clamp_min(1e-24).sqrt()).to(self.axes).contiguous()
        found = LeastSquares(RIDGE)
        for batch in batches:
            parts, sky, bright = _parts(batch)
            true = batch.extras.get("clean", batch.images).double() - sky
            found.add(bright[:, None] * self._told(self._place(parts)), true)
        self.shapes = found.solve().to(self.shapes).contiguous()
        super().fit(batches)

    def reconstruct(self, batch: LensBatch) -> Tensor:
        """(B, C, H, W), float32; until it is fitted, the sky."""
        parts, sky, bright = _parts(batch)
        images = batch.images.float()
        if not len(self.shapes):
            return sky.expand_as(images).clone()

        def decode(z: Tensor) -> Tensor:
            return sky + z[:, :1, None, None] * self._shape(z[:, 1:], *images.shape[-2:])

        z = torch.cat([bright[:, None], self._place(parts)], 1)
        weight = self.residual.sigma(decode(z), batch).square().reciprocal()
        if batch.mask is not None:
            weight = weight * ~batch.mask
        return decode(gauss_newton(decode, z, images, weight, self.refine))

    def _place(self, parts: Tensor) -> Tensor:
        """z (B, K)."""
        return (parts - self.mean) @ self.axes

    def _shape(self, z: Tensor, height: int, width: int) -> Tensor:
        """(B, C, H, W)."""
        return centred(torch.tensordot(self._told(z), self.shapes, 1), height, width)

    def _told(self, z: Tensor) -> Tensor:
        """f (B, F)."""
        return torch.cat([torch.ones_like(z[:, :1]), z, self.cosines(z)], 1)


def _parts(batch: LensBatch) -> tuple[Tensor, Tensor, Tensor]:
    """The shape of each image in parts (B, C * 16 * 16), its sky (B, C, 1, 1) and its brightness (B,)."""
    images = batch.images.float()
    if batch.mask is not None:
        images = images.masked_fill(batch.mask, torch.nan)
    sky = images.flatten(2).nanmedian(2).values.nan_to_num()[..., None, None]
    parts = F.adaptive_avg_pool2d((images - sky).nan_to_num(), PARTS)
    if batch.mask is not None:  # means of what is good; a part with hardly any is sky
        good = F.adaptive_avg_pool2d((~batch.mask).expand_as(images).float(), PARTS)
        parts = parts / good.clamp_min(0.25)
    parts = parts.flatten(1)
    bright = parts.mean(1)
    least = 1e-3 * parts.abs().mean(1) + 1e-12  # of an image without light
    bright = torch.where(bright.abs() > least, bright, least)
    return parts / bright[:, None], sky, bright

"""Reconstruction: an autoencoder that only normal images have taught, and what it leaves of an image.

With a narrow latent vector it can only give images like those that it was trained on. Its encoder errs, and its error
would be larger than what substructure leaves; so the latent vector is refined by Gauss and Newton's method until the
residual is as small as the decoder lets it be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.func import jvp, vmap

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.models import Backbone, PixelHead, PoolHead
from arcformer.tasks.anomaly.decoder import LatentDecoder
from arcformer.tasks.anomaly.residual import Measure, Noise, Residual
from arcformer.tasks.anomaly.statistic import STATISTICS, Scores, Statistic
from arcformer.tasks.pretrain.misfit import Misfit, check_misfit, misfit
from arcformer.tasks.pretrain.shown import channels_and_stride

__all__ = ["Reconstructed", "gauss_newton"]

DAMPING = 1e-4
"""Share of the mean of the diagonal that is added to it, so that a number of no effect can be solved for."""


@STATISTICS.register("reconstruction")
class Reconstructed(Statistic):
    """The residual of an autoencoder; see ``residual.Residual`` for the score.

    It learns the image without noise, where the simulator gives it, else the image. ``vit`` of the size
    ``autoencoder-4x4`` with ``latent = 0``, ``loss = "mse"`` and ``score = "mse"`` is the autoencoder that is usual in this
    field, whose threshold is ``Detect.box_plot``.

    Args:
        backbone: the encoder.
        latent: numbers between encoder and decoder; 0: no bottleneck, the feature map itself.
        refine: steps of Gauss and Newton on the latent vector before the residual is taken.
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
        latent: int = 8,
        refine: int = 3,
        loss: Misfit = "chi2",
        score: Measure = "chi2",
        noise: Noise = "learned",
        smooth: float = 1.0,
        cells: int = 16,
    ):
        super().__init__(backbone)
        check_misfit(loss)
        if latent < 0 or refine < 0:
            raise InputError(f"reconstruction: {latent=}, {refine=}: expected none negative")
        channels, stride = channels_and_stride(backbone)
        self.measure: Misfit = loss
        self.refine = refine if latent else 0
        self.enter = PoolHead(backbone.dim, latent) if latent else None
        self.decoder = LatentDecoder(latent, channels, stride) if latent else None
        self.pixels = None if latent else PixelHead(backbone.dim, channels, stride)
        self.residual = Residual(channels, score, noise, smooth, cells)

    def loss(self, batch: LensBatch) -> Tensor:
        """How far the reconstruction is from the image without noise, where that is there."""
        true = batch.extras.get("clean", batch.images)
        return misfit(self._first(batch)[0], true, batch, self.measure)

    def score(self, batch: LensBatch) -> Scores:
        return self.residual.score(self.reconstruct(batch), batch)

    def prepare(self, batches: Sequence[LensBatch]) -> None:
        self.residual.prepare(batches)

    def fit(self, batches: Iterable[LensBatch]) -> None:
        self.residual.fit(self.reconstruct, batches)

    def reconstruct(self, batch: LensBatch) -> Tensor:
        """(B, C, H, W), float32, in the range of the transform."""
        found, z = self._first(batch)
        if z is None or not self.refine:
            return found
        height, width = batch.images.shape[-2:]
        weight = self.residual.sigma(found, batch).reciprocal().square()
        if batch.mask is not None:
            weight = weight * ~batch.mask
        with torch.autocast(z.device.type, enabled=False):
            decode = lambda z: self.decoder(z, height, width)  # noqa: E731
            return decode(gauss_newton(decode, z, batch.images.float(), weight, self.refine))

    def _first(self, batch: LensBatch) -> tuple[Tensor, Tensor | None]:
        """The reconstruction as it comes from the encoder, and its latent vector."""
        height, width = batch.images.shape[-2:]
        features = self.backbone.features(batch.images, batch.context)
        if self.enter is None or self.decoder is None:
            assert self.pixels is not None
            return self.pixels(features, height, width).float(), None
        z = self.enter(features).float()
        with torch.autocast(z.device.type, enabled=False):  # the pixels are to be right to a part in a thousand
            return self.decoder(z, height, width), z


@torch.no_grad()
def gauss_newton(decode: Callable[[Tensor], Tensor], z: Tensor, images: Tensor, weight: Tensor, steps: int) -> Tensor:
    """Latent vectors (B, L) that make the sum of ``weight`` (images - decode(z))^2 least, from ``z`` on.

    A step that makes it larger is not taken, image by image.

    Args:
        decode: from latent vectors to images (B, C, H, W); each image from its own vector alone.
        weight: (B, C, H, W), the inverse variance of each pixel.
    """
    unit = torch.eye(z.shape[1], device=z.device, dtype=z.dtype)
    root = weight.sqrt()
    found = decode(z)
    cost = (root * (images - found)).square().flatten(1).sum(1)
    for _ in range(steps):
        slopes = vmap(lambda way, z=z: jvp(decode, (z,), (way.expand_as(z).contiguous(),))[1])(unit)  # (L, B, C, H, W)
        slopes = (root * slopes).flatten(2).transpose(0, 1)  # (B, L, pixels)
        normal = slopes @ slopes.mT
        down = slopes @ (root * (images - found)).flatten(1)[..., None]
        damping = DAMPING * normal.diagonal(dim1=1, dim2=2).mean(1) + 1e-12
        step = torch.linalg.solve(normal + damping[:, None, None] * unit, down)[..., 0]
        tried = z + step
        there = decode(tried)
        new = (root * (images - there)).square().flatten(1).sum(1)
        better = new < cost  # not where it is not a number
        z = torch.where(better[:, None], tried, z)
        found = torch.where(better[:, None, None, None], there, found)
        cost = torch.where(better, new, cost)
    return z

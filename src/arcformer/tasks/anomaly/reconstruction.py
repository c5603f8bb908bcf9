"""Reconstruction: an autoencoder that only normal images have taught, and what it leaves of an image.

With a narrow latent vector it can only give images like those that it was trained on. Its encoder errs, and its error
would be larger than what substructure leaves; so the latent vector is refined by Gauss and Newton's method until the
residual is as small as the decoder lets it be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor
from torch.func import jvp, vmap

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.models import Backbone, PixelHead, PoolHead
from arcformer.tasks.anomaly.decoder import Family
from arcformer.tasks.anomaly.residual import Measure, Noise, OfResiduals, Residual
from arcformer.tasks.anomaly.statistic import STATISTICS
from arcformer.tasks.pretrain.misfit import Misfit, check_misfit, misfit
from arcformer.tasks.shown import channels_and_stride

__all__ = ["Reconstructed", "gauss_newton"]

DAMPING = 1e-4
"""Share of the diagonal that is added to it (Marquardt 1963), so that a number of no effect can be solved for."""


@STATISTICS.register("reconstruction")
class Reconstructed(OfResiduals):
    """The residual of an autoencoder; see ``residual.Residual`` for the score.

    The latent vector tells how an image looks, not how bright it is: brightness is fitted, linearly. After training,
    what the decoder misses is found by least squares (``decoder.Family``). Latent numbers beyond what the images need
    are held where the encoder puts them, by a Gaussian about those of normal images.

    It learns the image without noise, where the simulator gives it, else the image. ``vit`` of the size
    ``autoencoder-4x4`` with ``latent = 0``, ``loss = "mse"`` and ``score = "mse"`` is the autoencoder that is usual in
    this field, whose threshold is ``Detect.box_plot``.

    Args:
        backbone: the encoder.
        latent: numbers between encoder and decoder; 0: no bottleneck, the feature map itself.
        refine: steps of Gauss and Newton on brightness and latent vector before the residual is taken.
        solve: features of the latent vector by which, after training, the decoder is corrected; 0: not at all.
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
        solve: int = 256,
        loss: Misfit = "chi2",
        score: Measure = "chi2",
        noise: Noise = "learned",
        smooth: float = 1.5,
        cells: int = 0,
    ):
        super().__init__(backbone)
        check_misfit(loss)
        if min(latent, refine, solve) < 0:
            raise InputError(f"reconstruction: {latent=}, {refine=}, {solve=}: expected none negative")
        channels, stride = channels_and_stride(backbone)
        self.measure: Misfit = loss
        self.refine = refine
        self.enter = PoolHead(backbone.dim, latent) if latent else None
        self.decoder = Family(latent, channels, stride, solve) if latent else None
        self.pixels = None if latent else PixelHead(backbone.dim, channels, stride)
        self.residual = Residual(channels, score, noise, smooth, cells)

    def loss(self, batch: LensBatch) -> Tensor:
        """How far the reconstruction is from the image without noise, where that is there."""
        true = batch.extras.get("clean", batch.images)
        return misfit(self._first(batch)[0], true, batch, self.measure)

    @torch.no_grad()
    def fit(self, batches: Iterable[LensBatch]) -> None:
        """Where latent vectors lie, what the decoder misses, and what then remains: up to four passes."""
        self.residual.forget()
        if self.decoder is not None:
            self.decoder.forget()
            self.decoder.locate(self._encoded(batch) for batch in batches)
            if self.decoder.features:
                refined = ((self._refined(batch), batch.extras.get("clean", batch.images)) for batch in batches)
                self.decoder.solve(refined)
        super().fit(batches)

    def reconstruct(self, batch: LensBatch) -> Tensor:
        """(B, C, H, W), float32, in the range of the transform."""
        if self.decoder is None:
            return self._first(batch)[0]
        z = self._refined(batch)
        with torch.autocast(z.device.type, enabled=False):
            return self.decoder(z, *batch.images.shape[-2:])

    def _first(self, batch: LensBatch) -> tuple[Tensor, Tensor | None]:
        """The reconstruction as it comes from the encoder, and brightness and latent vector, (B, 1 + L)."""
        height, width = batch.images.shape[-2:]
        if self.decoder is None:
            assert self.pixels is not None
            features = self.backbone.features(batch.images, batch.context)
            return self.pixels(features, height, width).float(), None
        z = self._encoded(batch)
        with torch.autocast(z.device.type, enabled=False):  # the pixels are to be right to a part in a thousand
            return self.decoder.as_bright(z, batch.images.float(), self._weight(batch))

    def _encoded(self, batch: LensBatch) -> Tensor:
        """Latent vectors (B, L) as the encoder gives them."""
        assert self.enter is not None
        return self.enter(self.backbone.features(batch.images, batch.context)).float()

    def _refined(self, batch: LensBatch) -> Tensor:
        """Brightness and latent vectors (B, 1 + L) after the steps of Gauss and Newton."""
        found, z = self._first(batch)
        assert self.decoder is not None
        assert z is not None
        if not self.refine:
            return z
        height, width = batch.images.shape[-2:]
        weight = self._weight(batch, found)
        with torch.autocast(z.device.type, enabled=False):
            decode = partial(self.decoder, height=height, width=width)
            return gauss_newton(decode, z, batch.images.float(), weight, self.refine, self.decoder.prior())

    def _weight(self, batch: LensBatch, found: Tensor | None = None) -> Tensor:
        """The inverse variance (B, C, H, W) of each pixel; without a reconstruction, of the image itself."""
        with torch.no_grad():
            weight = self.residual.sigma(batch.images.float() if found is None else found, batch).square().reciprocal()
            return weight if batch.mask is None else weight * ~batch.mask


@torch.no_grad()
def gauss_newton(
    decode: Callable[[Tensor], Tensor],
    z: Tensor,
    images: Tensor,
    weight: Tensor,
    steps: int,
    prior: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Latent vectors (B, L) that make the sum of ``weight`` (images - decode(z))^2 least, from ``z`` on.

    A step that makes it larger is not taken, image by image. The derivatives are exact, in forward mode.

    Args:
        decode: from latent vectors to images (B, C, H, W); each image from its own vector alone.
        weight: (B, C, H, W), the inverse variance of each pixel.
        prior: mean (L,) and inverse covariance (L, L) of a Gaussian whose (z - mean)^2 is added; None: nothing is.
    """
    mean, precision = prior or (z.new_zeros(z.shape[1]), z.new_zeros(z.shape[1], z.shape[1]))
    unit = torch.eye(z.shape[1], device=z.device, dtype=z.dtype)
    root = weight.sqrt()
    found = decode(z)

    def misfit_of(z: Tensor, found: Tensor) -> Tensor:
        away = z - mean
        return (root * (images - found)).square().flatten(1).sum(1) + (away @ precision * away).sum(1)

    cost = misfit_of(z, found)
    for _ in range(steps):
        slopes = vmap(lambda way, z=z: jvp(decode, (z,), (way.expand_as(z).contiguous(),))[1])(unit)  # (L, B, C, H, W)
        slopes = (root * slopes).flatten(2).transpose(0, 1)  # (B, L, pixels)
        normal = slopes @ slopes.mT + precision
        down = slopes @ (root * (images - found)).flatten(1)[..., None] - ((z - mean) @ precision)[..., None]
        damping = torch.diag_embed(DAMPING * normal.diagonal(dim1=1, dim2=2) + 1e-12)
        step = torch.linalg.solve(normal + damping, down)[..., 0]
        tried = z + step
        there = decode(tried)
        new = misfit_of(tried, there)
        better = new < cost  # not where it is not a number
        z = torch.where(better[:, None], tried, z)
        found = torch.where(better[:, None, None, None], there, found)
        cost = torch.where(better, new, cost)
    return z

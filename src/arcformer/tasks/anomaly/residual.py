"""How odd what a reconstruction leaves of an image is: in units of the noise, where there is light."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from arcformer.batch import LensBatch
from arcformer.data.sky import sky_rms
from arcformer.errors import InputError, chosen
from arcformer.tasks.anomaly.mahalanobis import Gaussian
from arcformer.tasks.anomaly.moments import Moments
from arcformer.tasks.anomaly.statistic import Fitted, Scores, Statistic
from arcformer.tasks.anomaly.usual import Usual, interpolated

__all__ = ["Measure", "Noise", "OfResiduals", "Residual"]

Measure = Literal["chi2", "mse"]

Noise = Literal["learned", "known"]

LEVELS = 64
"""Steps of brightness, for each of which the variance of the noise is learned: even in its root, narrow where faint.
Between them it is interpolated, which is exact for photons."""

BRIGHT = 3.0
"""Light of this many sigmas above the sky counts by half."""


class Residual(Fitted):
    """A score and a map from images and their reconstructions.

    ``chi2``: the residual r of each pixel in sigmas, less where there is no light: w r, w = s^2 / (s^2 + (3 sigma)^2)
    with s the light above the sky, of the reconstruction or of the smoothed image, whichever is more: what nobody
    expects may lie where no lens has light. It is smoothed by a Gaussian and put in units of
    its own scatter again: what substructure leaves is alike over some pixels, noise is not. The score is the mean of
    its squares, weighted by w. With ``cells`` it is the squared Mahalanobis distance of the means of w r over cells x
    cells parts of the image from those of normal images, with Ledoit & Wolf's covariance: what the reconstruction
    always misses, or misses often, counts for little. A longer exposure shows more of what every reconstruction misses,
    and is no anomaly: so either is compared with normal images of the same signal to noise (``Usual``).

    The noise is ``learned``, the scatter of the residuals of normal images as it goes with the brightness of the
    reconstruction, or ``known``, ``LensBatch.noise_std``, which all images must have then. Until it is learned it is
    that which is known, or that of the sky. What is simulated knows it from the image without noise.

    ``mse``: the mean of r^2, and r in units of the scatter of the sky.

    Raises:
        InputError: for options that cannot be.
    """

    range: Tensor
    noise: Tensor

    def __init__(self, channels: int, measure: Measure, noise: Noise, smooth: float, cells: int):
        super().__init__()
        chosen({"chi2": None, "mse": None}, measure, "score")
        chosen({"learned": None, "known": None}, noise, "noise")
        if not 0 <= smooth <= 10 or not 0 <= cells <= 64:
            raise InputError(
                f"{smooth=}, {cells=}: expected a width from 0 to 10 pixels, and from 0 to 64 cells a side"
            )
        self.measure, self.noise_from, self.smooth, self.cells = measure, noise, smooth, cells
        self.register_buffer("range", torch.tensor([0.0, 1.0]))
        self.register_buffer("noise", torch.zeros(0, 2))
        self.typical = Gaussian(channels * cells**2 if measure == "chi2" else 0)
        self.usual = Usual()

    def prepare(self, batches: Sequence[LensBatch]) -> None:
        """Take the range of brightness from images."""
        low = min(float(batch.images.min()) for batch in batches)
        high = max(float(batch.images.max()) for batch in batches)
        self.range.copy_(torch.tensor([low, max(high, low + 1e-6)]))

    def forget(self) -> None:
        """Take the noise, and what is usual, for unknown again, as before ``fit``."""
        self.noise = self.noise[:0]
        self.usual.forget()

    @torch.no_grad()
    def fit(self, reconstruct: Callable[[LensBatch], Tensor], batches: Iterable[LensBatch]) -> None:
        """Learn noise, typical residuals and usual scores from ``batches``, in a pass for each."""
        if self.measure == "mse":
            return
        if self.noise_from == "learned":
            self._learn_noise(reconstruct, batches)
        if self.cells:
            moments = Moments()
            for batch in batches:
                moments.add(self._means(*self._weighted(reconstruct(batch), batch)))
            self.typical.fit(moments.mean, moments.shrunk())
        pairs = [
            (self._clarity(found := reconstruct(batch), batch), self._misfit(found, batch)[0]) for batch in batches
        ]
        self.usual.fit(*(torch.cat(column) for column in zip(*pairs, strict=True)))

    def score(self, found: Tensor, batch: LensBatch) -> Scores:
        """Of images and their reconstructions ``found`` (B, C, H, W)."""
        images = batch.images.float()
        if self.measure == "mse":
            residual = images - found
            good = torch.ones_like(residual) if batch.mask is None else (~batch.mask).float()
            score = (residual.square() * good).flatten(1).sum(1) / good.flatten(1).sum(1).clamp_min(1)
            return Scores(score, _over_channels(residual * good / _sky(batch)))
        score, smoothed = self._misfit(found, batch)
        return Scores(self.usual(self._clarity(found, batch), score), _over_channels(smoothed))

    def sigma(self, found: Tensor, batch: LensBatch) -> Tensor:
        """The noise (B, C, H, W) of each pixel.

        Raises:
            InputError: it is to be known and is not.
        """
        if self.noise_from == "known" and batch.noise_std is None:
            raise InputError(
                "these images do not state their noise, which task.statistic.noise=known asks for; use noise=learned"
            )
        if self.noise_from == "learned" and len(self.noise):
            return interpolated(found, *self.noise.T.contiguous()).sqrt()
        if batch.noise_std is not None:
            return torch.where(batch.noise_std > 0, batch.noise_std, _sky(batch))
        return _sky(batch).expand_as(found)

    def light(self, found: Tensor, images: Tensor, sigma: Tensor) -> Tensor:
        """How much a pixel counts (B, C, H, W), from 0 for sky to 1."""
        sky = _sky_level(found)
        seen = _blurred(images - sky, _gaussian(max(self.smooth, 1.0), images.device))
        light = torch.maximum((found - sky).abs(), seen.abs()).square()
        return light / (light + (BRIGHT * sigma).square())

    def _clarity(self, found: Tensor, batch: LensBatch) -> Tensor:
        """The ratio of signal to noise of a pixel of the reconstruction that has light, root mean square, (B,)."""
        sigma = self.sigma(found, batch)
        weight = self.light(found, found, sigma)
        square = ((found - _sky_level(found)) / sigma).square() * weight
        return (square.flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1e-6)).sqrt()

    def _misfit(self, found: Tensor, batch: LensBatch) -> tuple[Tensor, Tensor]:
        """The score (B,) before it is compared with what is usual, and the smoothed residual (B, C, H, W)."""
        residual, weight = self._weighted(found, batch)
        smoothed = _smoothed(residual, weight, self.smooth)
        if self.cells:
            return self.typical.distance(self._means(residual, weight)), smoothed
        return (smoothed.square() * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1e-6), smoothed

    def _weighted(self, found: Tensor, batch: LensBatch) -> tuple[Tensor, Tensor]:
        """r in sigmas, and w; both 0 at bad pixels."""
        sigma, images = self.sigma(found, batch), batch.images.float()
        if batch.mask is None:
            return (images - found) / sigma, self.light(found, images, sigma)
        images = torch.where(batch.mask, found, images)
        return (images - found) / sigma, self.light(found, images, sigma).masked_fill(batch.mask, 0.0)

    def _means(self, residual: Tensor, weight: Tensor) -> Tensor:
        """(B, C * cells^2)."""
        return F.adaptive_avg_pool2d(residual * weight, self.cells).flatten(1)

    def _learn_noise(self, reconstruct: Callable[[LensBatch], Tensor], batches: Iterable[LensBatch]) -> None:
        low, high = self.range
        sums = self.range.new_zeros(3, LEVELS, dtype=torch.float64)  # of pixels, of their brightness, of r^2
        for batch in batches:
            found = reconstruct(batch)
            good = torch.ones_like(found, dtype=torch.bool) if batch.mask is None else ~batch.mask
            kept = found[good].double()
            step = (((kept - low) / (high - low)).clamp(0, 1).sqrt() * LEVELS).long().clamp(max=LEVELS - 1)
            each = torch.stack([torch.ones_like(kept), kept, (batch.images[good] - kept).square()])
            sums.index_add_(1, step, each)
        count, level, square = sums[:, sums[0] > 0]
        floor = (1e-6 * float(high - low)) ** 2
        known = torch.stack([level / count, (square / count).clamp_min(floor)], 1)
        self.noise = known.to(self.noise)


class OfResiduals(Statistic):
    """A statistic that reconstructs an image and scores what is left: a subclass has ``reconstruct``.

    Attributes:
        residual: scores it.
    """

    residual: Residual

    @abstractmethod
    def reconstruct(self, batch: LensBatch) -> Tensor:
        """(B, C, H, W), float32, in the range of the transform."""

    def score(self, batch: LensBatch) -> Scores:
        """Of what the reconstruction leaves."""
        return self.residual.score(self.reconstruct(batch), batch)

    def prepare(self, batches: Sequence[LensBatch]) -> None:
        """The range of brightness."""
        self.residual.prepare(batches)

    @torch.no_grad()
    def fit(self, batches: Iterable[LensBatch]) -> None:
        """What reconstructions leave of normal images."""
        self.residual.fit(self.reconstruct, batches)


def _sky(batch: LensBatch) -> Tensor:
    """The scatter of the sky, (B, C, 1, 1)."""
    images = batch.images.float()
    level = sky_rms(images, batch.mask).nan_to_num()
    scatter = images.flatten(2).std(2)
    return torch.where(level > 1e-3 * scatter, level, 1e-3 * scatter + 1e-6)[..., None, None]


def _smoothed(residual: Tensor, weight: Tensor, width: float) -> Tensor:
    """The residual weighted and smoothed by a Gaussian, in units in which independent unit noise has unit scatter."""
    if not width:
        return residual * weight.sqrt()
    line = _gaussian(width, residual.device)
    return _blurred(residual * weight, line) / _blurred(torch.ones_like(weight), line.square()).sqrt()


def _gaussian(width: float, device: torch.device) -> Tensor:
    """Weights of a line of pixels, which add up to one."""
    half = math.ceil(3 * width)
    line = torch.exp(-0.5 * (torch.arange(-half, half + 1, device=device) / width) ** 2)
    return line / line.sum()


def _blurred(x: Tensor, line: Tensor) -> Tensor:
    """``x`` (B, C, H, W) convolved with ``line`` along both axes, zero outside."""
    half, planes = len(line) // 2, x.flatten(0, 1)[:, None]
    planes = F.conv2d(
        F.conv2d(planes, line[None, None, :, None], padding=(half, 0)), line[None, None, None], padding=(0, half)
    )
    return planes[:, 0].unflatten(0, x.shape[:2])


def _sky_level(found: Tensor) -> Tensor:
    """The median of each channel, (B, C, 1, 1)."""
    return found.flatten(2).median(2).values[..., None, None]


def _over_channels(residual: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H, W), unit noise remaining unit noise."""
    return residual.sum(1) / residual.shape[1] ** 0.5

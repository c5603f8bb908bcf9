"""Super-resolution: the sky on a finer grid of pixels than the instrument has, and how sure that is, pixel by pixel.

What is learned is ``batch.high_res``. Of pairs from the simulator that is the noise-free sky before the PSF, so that
the network undoes pixels, PSF and noise at once; of ``data.pairs = "binned"`` and of public ``HR`` files it is the
finer file as it is, with a PSF and noise of its own, of which the noise cannot be foretold.

The network adds to an interpolation what this lacks. Its last map may have any stride (``FineHead``). Everything is
computed in the range of the transform, which must be a multiple of the flux (``linear`` or ``none``, see
``wants.check_pairs``): then a share of the flux and a noise in sigmas are what they are in physical units.

The uncertainty is the width of a Gaussian, learned by its likelihood of what the network misses, which does not move
the image itself. One factor for all pixels is fitted to validation images, so that about 68 % of the pixels are within
one and 95 % within 1.96 of it; the two cannot both be met where residuals are no Gaussian.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.data.pairs import Interpolation, enlarged, factor_of
from arcformer.errors import InputError
from arcformer.metrics import ImageMean, flux_error, psnr, ssim
from arcformer.models import Backbone, FineHead
from arcformer.tasks.base import TASKS, Prediction, Task, TaskMetrics
from arcformer.tasks.shown import shown
from arcformer.tasks.superres.losses import charbonnier, chi_square, excess, flux, likelihood

__all__ = ["FineImage", "SuperRes"]

SIGMAS = {0.6827: 1.0, 0.95: 1.96}
"""How many standard deviations hold which share of a Gaussian."""

CALIBRATED_ON = 4_000_000
"""Pixels, at most, that the uncertainty is calibrated on."""

FAINTEST = 1e-6
"""What interpolation misses is at least this share of the images, or images without structure would be divided by 0."""


@dataclass(frozen=True)
class FineImage(Prediction):
    """Attributes:
    high_res: (B, C, rH, rW), the finer image, in the range of the transform.
    std: (B, C, rH, rW), the standard deviation of each of its pixels.
    """

    high_res: Tensor
    std: Tensor


class OfInterpolation(ImageMean):
    """The same of an interpolated image, to have beside it."""

    def update(self, interpolated: Tensor, true: Tensor) -> None:  # type: ignore[override]
        super().update(interpolated, true)


@TASKS.register("superres")
class SuperRes(Task):
    """A finer image, from interpolation and what a network adds to it.

    The loss is a sum of terms, each with a weight; 0 leaves one out. Residuals are measured in what the interpolation
    misses, a typical pixel of the training images, so that the terms are of order one whatever the images.

    Args:
        backbone: whose maps the head shuffles to the finer grid.
        classes: names of the classes, which are not looked at.
        factor: pixels of the finer image for each of the image, on each axis: 2 or 4.
        charbonnier: weight of the distance from the true image, see ``losses.charbonnier``.
        softness: below which that is a square. A median, which an absolute value leads to, is no mean: where the noise
            of the finer image is skewed, leave it at one or more.
        ssim: weight of 1 - SSIM.
        consistency: weight of the excess of the reduced chi-square of what the instrument would have seen over one; of
            pairs without a PSF there is none.
        flux: weight of the share by which the total flux is off.
        uncertainty: weight of the likelihood of the residuals.
        skip: the interpolation.
        width: channels of the head.

    Raises:
        InputError: for another factor, weights that are negative, or 0 for all that moves the image or for the
            uncertainty.
    """

    monitor: ClassVar[tuple[str, str]] = ("psnr", "max")
    truth: ClassVar[Literal["none", "noise", "useful", "needed"]] = "noise"
    missed: Tensor
    spread: Tensor

    def __init__(
        self,
        backbone: Backbone,
        classes: Sequence[str],
        *,
        factor: int = 2,
        charbonnier: float = 1.0,
        softness: float = 1.0,
        ssim: float = 0.1,
        consistency: float = 0.05,
        flux: float = 0.1,
        uncertainty: float = 0.1,
        skip: Interpolation = "bicubic",
        width: int = 32,
    ):
        super().__init__(backbone, classes)
        weights = {"charbonnier": charbonnier, "ssim": ssim, "consistency": consistency, "flux": flux}
        if factor not in (2, 4):
            raise InputError(f"superres: factor is {factor}; it can be 2 or 4")
        if min(weights.values()) < 0 or not sum(weights.values()) or uncertainty <= 0 or softness <= 0:
            given = ", ".join(f"{name}={weight:g}" for name, weight in weights.items())
            raise InputError(
                f"superres: weights {given}, {uncertainty=}, {softness=}: none may be negative, one of the first four "
                "and the last two must be positive"
            )
        self.factor, self.weights, self.softness, self.uncertainty = factor, weights, softness, uncertainty
        self.skip: Interpolation = skip
        self.channels, maps = shown(backbone)
        sizes = [(found.x.shape[1], found.stride) for found in maps]
        self.head = FineHead(sizes, self.channels, 2 * self.channels, factor, width=width)
        self.register_buffer("missed", torch.ones(()))
        self.register_buffer("spread", torch.ones(()))

    def loss(self, batch: LensBatch) -> dict[str, Tensor]:
        """The weighted sum of the terms, and each of them."""
        true, good = self._truth(batch), self._good(batch)
        fine, log_std = self._said(batch)
        unit = self.missed / self.factor**2
        residual = (fine - true) / unit
        of_each = {"charbonnier": lambda: charbonnier(residual, self.softness, good)}
        of_each["ssim"] = lambda: 1 - ssim(torch.where(good, fine, true), true)
        of_each["flux"] = lambda: flux(fine, true, good)
        if batch.psf is not None:
            of_each["consistency"] = lambda: excess(chi_square(fine, batch, self.factor), batch)
        parts = {name: term().mean() for name, term in of_each.items() if self.weights[name]}
        parts["uncertainty"] = likelihood(residual.detach(), log_std - unit.log(), good).mean()
        weights = self.weights | {"uncertainty": self.uncertainty}
        return {"loss": torch.stack([weights[name] * part for name, part in parts.items()]).sum()} | parts

    def predict(self, batch: LensBatch) -> FineImage:
        """The finer image and its uncertainty, calibrated."""
        fine, log_std = self._said(batch)
        return FineImage(fine, log_std.exp() * self.spread)

    def metrics(self) -> TaskMetrics:
        """PSNR, SSIM and flux error, means over images; beside them the PSNR of bicubic interpolation alone."""
        metrics = {
            "psnr": ImageMean(psnr),
            "ssim": ImageMean(ssim),
            "flux_error": ImageMean(lambda found, true: flux_error(found, true).abs()),
            "psnr_bicubic": OfInterpolation(psnr),
        }
        return TaskMetrics(metrics, self._compared)

    def _compared(self, prediction: FineImage, batch: LensBatch) -> Mapping[str, Tensor | None]:
        true, good = self._truth(batch), self._good(batch)
        images = {"found": prediction.high_res, "interpolated": enlarged(batch.images, self.factor, "bicubic")}
        return {"true": true} | {name: torch.where(good, image, true) for name, image in images.items()}

    @torch.no_grad()
    def prepare(self, batches: Sequence[LensBatch]) -> None:
        """Measure what the interpolation misses, in flux of a pixel of the image."""
        missed, size = [], []
        for batch in batches:
            true = self._truth(batch)
            missed.append((true - enlarged(batch.images, self.factor, self.skip))[self._good(batch)].square())
            size.append(true.square().flatten())
        rms, whole = (torch.cat(parts).double().mean().sqrt() for parts in (missed, size))
        self.missed.copy_(torch.maximum(rms, FAINTEST * whole) * self.factor**2 if whole > 0 else torch.ones(()))

    @torch.no_grad()
    def calibrate(self, predictions: Sequence[FineImage], batches: Sequence[LensBatch]) -> None:
        """Fit the factor of the uncertainty: the mean (of logarithms) of those by which each of ``SIGMAS`` would hold.

        Uncertainties of nothing, as of images that are found exactly, stay what they are.
        """
        sigmas = []
        for prediction, batch in zip(predictions, batches, strict=True):
            z = (prediction.high_res - self._truth(batch)).abs() / prediction.std * self.spread
            sigmas.append(z[self._good(batch)].cpu())
        found = torch.cat(sigmas)
        found = found[:: -(-len(found) // CALIBRATED_ON)].sort().values
        factors = [float(found[int(share * (len(found) - 1))]) / n for share, n in SIGMAS.items()]
        if min(factors) > 0:
            self.spread.fill_(math.exp(sum(map(math.log, factors)) / len(factors)))

    def _said(self, batch: LensBatch) -> tuple[Tensor, Tensor]:
        """The finer image and the logarithm of its standard deviation, not yet calibrated."""
        said = self.head(self.backbone.features(batch.images, batch.context), batch.images).float()
        added, log_std = said.split(self.channels, 1)
        unit = self.missed / self.factor**2
        fine = enlarged(batch.images, self.factor, self.skip) + unit * added
        return fine, 8 * torch.tanh(log_std / 8) + unit.log()

    def _good(self, batch: LensBatch) -> Tensor:
        """The pixels of the finer image that lie under good ones, (B, C, rH, rW)."""
        if batch.mask is None:
            shape = (*batch.images.shape[:2], *(self.factor * side for side in batch.images.shape[-2:]))
            return torch.ones(shape, dtype=torch.bool, device=batch.images.device)
        return ~batch.mask.repeat_interleave(self.factor, 2).repeat_interleave(self.factor, 3)

    def _truth(self, batch: LensBatch) -> Tensor:
        if batch.high_res is None:
            raise InputError(
                "superres: these images come without finer ones; training and evaluation need pairs, from the "
                "simulator, of a folder with LR and HR in it, or binned (data.pairs)"
            )
        found = factor_of(batch)
        if found != self.factor:
            sides = " and ".join(f"{a} x {b}" for a, b in (batch.images.shape[-2:], batch.high_res.shape[-2:]))
            raise InputError(f"superres: it was built for factor {self.factor}, and these pairs are of {sides} pixels")
        return batch.high_res

"""The instrument: a grid of pixels, a point-spread function, and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from arcformer.errors import InputError
from arcformer.sim.kernels import at_a_time, kernel
from arcformer.sim.poisson import poisson
from arcformer.sim.priors import Prior

__all__ = ["DoublePoissonCounts", "GaussianPSF", "Instrument", "Noise", "TwiceTheModel", "pixel_grid"]


def pixel_grid(pixels: int, pixel_scale: float, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Coordinates in arcsec of pixel centres about the middle of the image: x along columns, y along rows, (H, W)."""
    axis = (torch.arange(pixels, dtype=dtype, device=device) - (pixels - 1) / 2) * pixel_scale
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x, y


@dataclass(frozen=True)
class GaussianPSF:
    """A Gaussian of the given FWHM (arcsec) on the pixel grid, cut at ``truncation`` sigma and then normalised.

    The image is continued beyond its edge by its outermost pixels. Both as lenstronomy's ``GAUSSIAN`` (SciPy's
    ``gaussian_filter``) does it.
    """

    fwhm: float
    truncation: float

    def __post_init__(self) -> None:
        if self.fwhm <= 0 or self.truncation <= 0:
            raise InputError(f"{self}: width and truncation must be positive")

    def profile(self, pixel_scale: float) -> list[float]:
        """The one-dimensional kernel, odd in length, summing to one; the kernel is its outer product with itself."""
        sigma = self.fwhm / math.sqrt(8 * math.log(2)) / pixel_scale
        radius = int(self.truncation * sigma + 0.5)
        weights = [math.exp(-((i / sigma) ** 2) / 2) for i in range(-radius, radius + 1)]
        return [weight / sum(weights) for weight in weights]

    def kernel(self, pixel_scale: float) -> Tensor:
        """The kernel as an image, (k, k) float32."""
        profile = torch.tensor(self.profile(pixel_scale), dtype=torch.float64)
        return torch.outer(profile, profile).float()

    def convolve(self, images: Tensor, pixel_scale: float, compiled: bool | None = None) -> Tensor:
        """Images (B, H, W) seen through the PSF."""
        profile = images.new_tensor(self.profile(pixel_scale))
        reach = len(profile) // 2
        padded = F.pad(images[:, None], (reach, reach, reach, reach), mode="replicate")[:, 0]
        return _blur(padded, profile, compiled=compiled)


@kernel
def _blur(padded: Tensor, profile: Tensor) -> Tensor:
    """Sums of shifted images along one axis, then the other: (B, H + k - 1, W + k - 1) to (B, H, W), k weights."""
    weights = profile.unbind()
    height, width = (side - len(weights) + 1 for side in padded.shape[-2:])
    rows = sum(weight * padded[:, i : i + height] for i, weight in enumerate(weights))
    return sum(weight * rows[:, :, i : i + width] for i, weight in enumerate(weights))  # pyright: ignore


class Noise(Protocol):
    """From the noise-free image to what is written to disk."""

    @property
    def unit(self) -> str:
        """Of the images with noise."""
        ...

    def draw(self, count: int, generator: Generator) -> dict[str, Tensor]:
        """Parameters of the observation by name, (count,) each."""
        ...

    def mean(self, clean: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        """The expected image, in ``unit``, clipping at zero left aside."""
        ...

    def std(self, clean: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        """The scatter about it, in ``unit``."""
        ...

    def observe(self, clean: Tensor, parameters: dict[str, Tensor], generator: Generator) -> Tensor:
        """Images with noise, in ``unit``, of clean images (B, H, W), flux per second and pixel; all on one device."""
        ...


@dataclass(frozen=True)
class DoublePoissonCounts:
    """Model I's noise: flux per second, its photon noise and the background, clipped at zero, then Poisson once more.

    counts ~ Poisson(max(0, t (f + N(0, f / t) + N(0, background^2)))), with f the flux per second, t the exposure.
    So the variance is 2 t f + (t background)^2, with photon noise twice, and dark pixels are zero half of the time.
    """

    exposure: Prior
    background_rms: float
    unit: str = "counts"

    def draw(self, count: int, generator: Generator) -> dict[str, Tensor]:
        return {"exposure": self.exposure.draw((count,), generator)}

    def mean(self, clean: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        return parameters["exposure"][:, None, None] * clean

    def std(self, clean: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        mean = self.mean(clean, parameters)
        return (2 * mean + (parameters["exposure"][:, None, None] * self.background_rms) ** 2).sqrt()

    def observe(self, clean: Tensor, parameters: dict[str, Tensor], generator: Generator) -> Tensor:
        exposure = parameters["exposure"][:, None, None]
        few = at_a_time(len(clean), clean.shape[-2:].numel(), clean.device)
        blocks = zip(clean.split(few), exposure.split(few), strict=True)
        return torch.cat([self._counts(flux, time, generator) for flux, time in blocks])

    def _counts(self, flux: Tensor, time: Tensor, generator: Generator) -> Tensor:
        # the two Gaussians are independent: one draw with the sum of their variances is the same distribution
        scatter = (flux.abs() / time).add_(self.background_rms**2).sqrt_()
        gaussian = torch.randn(flux.shape, generator=generator, dtype=flux.dtype, device=flux.device)
        return poisson(gaussian.mul_(scatter).add_(flux).mul_(time).clamp_(min=0), generator)


@dataclass(frozen=True)
class TwiceTheModel:
    """Model II's and III's "noise": it is computed and dropped, and twice the noise-free image is written."""

    unit: str = "e-/s, doubled"

    def draw(self, count: int, generator: Generator) -> dict[str, Tensor]:
        return {}

    def mean(self, clean: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        return 2 * clean

    def std(self, clean: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        return torch.zeros_like(clean)

    def observe(self, clean: Tensor, parameters: dict[str, Tensor], generator: Generator) -> Tensor:
        return 2 * clean


@dataclass(frozen=True)
class Instrument:
    """A square detector: pixels per side, arcsec per pixel, PSF, noise, and the magnitude of one count per second."""

    pixels: int
    pixel_scale: float
    psf: GaussianPSF
    noise: Noise
    zero_point: float | None = None

    def __post_init__(self) -> None:
        if self.pixels < 1 or self.pixel_scale <= 0:
            raise InputError(
                f"an instrument of {self.pixels} pixels of {self.pixel_scale} arcsec: both must be positive"
            )

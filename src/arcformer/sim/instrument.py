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

__all__ = [
    "PSF",
    "DoublePoissonCounts",
    "GaussianPSF",
    "Instrument",
    "Noise",
    "PhotonNoise",
    "PixelPSF",
    "TwiceTheModel",
    "convolved",
    "pixel_grid",
    "sky_background",
]


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

    def draw(self, count: int, generator: Generator) -> dict[str, Tensor]:
        return {}

    def fits(self, pixel_scale: float) -> bool:
        return True

    def kernel(self, pixel_scale: float, which: Tensor | None = None) -> Tensor:
        """The kernel as an image, (1, k, k) float32."""
        profile = torch.tensor(self.profile(pixel_scale), dtype=torch.float64)
        return torch.outer(profile, profile).float()[None]

    def convolve(
        self, images: Tensor, pixel_scale: float, which: Tensor | None = None, compiled: bool | None = None
    ) -> Tensor:
        """Images (B, H, W) seen through the PSF."""
        profile = images.new_tensor(self.profile(pixel_scale))
        reach = len(profile) // 2
        padded = F.pad(images[:, None], (reach, reach, reach, reach), mode="replicate")[:, 0]
        return _blur(padded, profile, compiled=compiled)


@dataclass(frozen=True, eq=False)
class PixelPSF:
    """Empirical PSFs, (S, k, k) or one (k, k), k odd, summing to one each, on pixels of ``pixel_scale`` arcsec.

    Of several, every image is seen through one that is drawn for it, ``psf_index``.
    """

    pixels: Tensor
    pixel_scale: float

    def __post_init__(self) -> None:
        shape = tuple(self.pixels.shape)
        if len(shape) not in (2, 3) or 0 in shape or shape[-2] != shape[-1] or shape[-1] % 2 == 0:
            raise InputError(f"a PSF of shape {shape}: expected a square of odd size, or a set of such squares")
        totals = self._set.double().sum((1, 2))
        worst = float(totals[(totals - 1).abs().argmax()])
        if not abs(worst - 1) <= 1e-3:
            raise InputError(f"a PSF that sums to {worst:.4g}: expected one that sums to 1; divide it by its sum")

    @property
    def _set(self) -> Tensor:
        return self.pixels.view(-1, *self.pixels.shape[-2:])

    def draw(self, count: int, generator: Generator) -> dict[str, Tensor]:
        number = len(self._set)
        return {"psf_index": torch.randint(number, (count,), generator=generator)} if number > 1 else {}

    def fits(self, pixel_scale: float) -> bool:
        return abs(pixel_scale / self.pixel_scale - 1) <= 1e-3

    def kernel(self, pixel_scale: float, which: Tensor | None = None) -> Tensor:
        """The kernels as images, (1, k, k) float32, or of those at ``which`` (B,), (B, k, k)."""
        if not self.fits(pixel_scale):
            raise InputError(f"the PSF is on pixels of {self.pixel_scale:g} arcsec, not on those of {pixel_scale:g}")
        return self._set[:1].float() if which is None else self._set[which.to(self.pixels.device)].float()

    def convolve(
        self, images: Tensor, pixel_scale: float, which: Tensor | None = None, compiled: bool | None = None
    ) -> Tensor:
        """Images (B, H, W) seen through the PSF, by Fourier transform; beyond the edge the outermost pixels go on."""
        return convolved(images, self.kernel(pixel_scale, which))


def convolved(images: Tensor, kernels: Tensor) -> Tensor:
    """Images (B, H, W) through kernels (B, k, l) or (1, k, l) of odd sides; beyond the edge the outermost pixels go on.

    By Fourier transform.
    """
    kernels = kernels.to(images)
    (up, left), (height, width) = (side // 2 for side in kernels.shape[-2:]), images.shape[-2:]
    padded = F.pad(images[:, None], (left, left, up, up), mode="replicate")[:, 0]
    size = padded.shape[-2:]
    spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(kernels, s=size)
    return torch.fft.irfft2(spectrum, s=size)[:, 2 * up : 2 * up + height, 2 * left : 2 * left + width]


@kernel
def _blur(padded: Tensor, profile: Tensor) -> Tensor:
    """Sums of shifted images along one axis, then the other: (B, H + k - 1, W + k - 1) to (B, H, W), k weights."""
    weights = profile.unbind()
    height, width = (side - len(weights) + 1 for side in padded.shape[-2:])
    rows = sum(weight * padded[:, i : i + height] for i, weight in enumerate(weights))
    return sum(weight * rows[:, :, i : i + width] for i, weight in enumerate(weights))  # pyright: ignore


class PSF(Protocol):
    """What a point looks like."""

    def draw(self, count: int, generator: Generator) -> dict[str, Tensor]:
        """Which of several PSFs each image is seen through, ``psf_index`` (count,); nothing where there is one."""
        ...

    def fits(self, pixel_scale: float) -> bool:
        """Whether it is known on pixels of this size, arcsec."""
        ...

    def kernel(self, pixel_scale: float, which: Tensor | None = None) -> Tensor:
        """As images of odd size, float32: (1, k, k), or for each of ``which`` (B, k, k)."""
        ...

    def convolve(
        self, images: Tensor, pixel_scale: float, which: Tensor | None = None, compiled: bool | None = None
    ) -> Tensor:
        """Images (B, H, W) seen through it, each through that of ``which`` (B,) where there are several."""
        ...


class Noise(Protocol):
    """From the noise-free image to what is written to disk."""

    @property
    def unit(self) -> str:
        """Of the images."""
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
        """Images with noise, in ``unit``, of clean ones (B, C, H, W), flux per second and pixel; all on one device."""
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
        return parameters["exposure"][:, None, None, None] * clean

    def std(self, clean: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        mean = self.mean(clean, parameters)
        return (2 * mean + (parameters["exposure"][:, None, None, None] * self.background_rms) ** 2).sqrt()

    def observe(self, clean: Tensor, parameters: dict[str, Tensor], generator: Generator) -> Tensor:
        exposure = parameters["exposure"][:, None, None, None]
        few = at_a_time(len(clean), clean.shape[1:].numel(), clean.device)
        blocks = zip(clean.split(few), exposure.split(few), strict=True)
        return torch.cat([self._counts(flux, time, generator) for flux, time in blocks])

    def _counts(self, flux: Tensor, time: Tensor, generator: Generator) -> Tensor:
        # the two Gaussians are independent: one draw with the sum of their variances is the same distribution
        scatter = (flux.abs() / time).add_(self.background_rms**2).sqrt_()
        gaussian = torch.randn(flux.shape, generator=generator, dtype=flux.dtype, device=flux.device)
        return poisson(gaussian.mul_(scatter).add_(flux).mul_(time).clamp_(min=0), generator)


@dataclass(frozen=True)
class PhotonNoise:
    """Noise as it is, once, and nothing is clipped: Poisson(t f) photons, and a Gaussian background about zero.

    With f the flux per second and t the exposure, the variance is t f + (t background)^2 in counts. ``per_second``
    divides image and noise by t. ``background_at`` is the exposure that the background is of, where it is made by
    photons of the sky: at another one it goes as t^-1/2. None: it is the same at all.
    """

    exposure: Prior
    background_rms: float
    per_second: bool = False
    background_at: float | None = None

    @property
    def unit(self) -> str:
        return "e-/s" if self.per_second else "counts"

    def draw(self, count: int, generator: Generator) -> dict[str, Tensor]:
        return {"exposure": self.exposure.draw((count,), generator)}

    def mean(self, clean: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        return clean * self._time(parameters)

    def std(self, clean: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        exposure = parameters["exposure"][:, None, None, None]
        deeper = 1.0 if self.background_at is None else exposure / self.background_at
        return self._time(parameters) * (clean / exposure + self.background_rms**2 / deeper).sqrt()

    def observe(self, clean: Tensor, parameters: dict[str, Tensor], generator: Generator) -> Tensor:
        exposure, time = parameters["exposure"][:, None, None, None], self._time(parameters)
        few = at_a_time(len(clean), clean.shape[1:].numel(), clean.device)
        blocks = zip(clean.split(few), exposure.split(few), strict=True)
        return torch.cat([self._rates(flux, exposed, generator) for flux, exposed in blocks]).mul_(time)

    def _rates(self, flux: Tensor, exposure: Tensor, generator: Generator) -> Tensor:
        background = torch.randn(flux.shape, generator=generator, dtype=flux.dtype, device=flux.device)
        photons = poisson((exposure * flux).clamp_(min=0), generator)
        if self.background_at is not None:
            background.mul_((self.background_at / exposure).sqrt())
        return photons.div_(exposure).add_(background, alpha=self.background_rms)

    def _time(self, parameters: dict[str, Tensor]) -> Tensor:
        exposure = parameters["exposure"][:, None, None, None]
        return torch.ones_like(exposure) if self.per_second else exposure


def sky_background(
    *,
    exposure: float,
    exposures: int,
    read_noise: float,
    sky_magnitude: float,
    zero_point: float,
    pixel_scale: float,
) -> float:
    """Standard deviation of the background of a pixel, e-/s: the sky's photons and the read-outs of all exposures.

    ``exposure`` in s, ``read_noise`` in e-, ``sky_magnitude`` per arcsec^2, as lenstronomy's ``bkg_noise``.
    """
    time = exposure * exposures
    sky = 10 ** (-0.4 * (sky_magnitude - zero_point)) * pixel_scale**2
    return math.sqrt(exposures * read_noise**2 + sky * time) / time


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
    """A square detector: pixels per side, arcsec per pixel, PSF, noise, and the magnitude of one count per second.

    ``copies`` writes every image so many times over, as bands of one image.
    """

    pixels: int
    pixel_scale: float
    psf: PSF
    noise: Noise
    zero_point: float | None = None
    copies: int = 1

    def __post_init__(self) -> None:
        if self.pixels < 1 or self.pixel_scale <= 0:
            raise InputError(
                f"an instrument of {self.pixels} pixels of {self.pixel_scale} arcsec: both must be positive"
            )

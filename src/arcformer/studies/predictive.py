"""Posterior predictive pictures: an image, the lenses that a posterior says it may be, and what is left of it.

Lens and source are rendered anew by the simulator of the run's preset for each of some posterior samples, on the pixels
of the image and through its PSF. What is not a target is at the median of its prior, and there is no substructure. What
of an image is linear is fitted to it, for every sample, so that it can be compared where no brightness was estimated:
the flux of the source, that of the light of the lens, neither of them negative, and the level of the sky. The light of
the lens is a sum of profiles of several sizes and indices, of one place and one ellipticity, which are fitted too. The
mean over the samples is the model, and the residual is in units of the noise.

Shapes: one image, C channels, H x W pixels, S samples, K profiles of the lens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.optimize import lsq_linear, minimize
from torch import Tensor
from torch.nn import functional as F

from arcformer.batch import LensBatch
from arcformer.data.sky import sky_rms
from arcformer.sim.galaxies import Galaxy
from arcformer.sim.instrument import PixelPSF
from arcformer.sim.named_priors import typical
from arcformer.sim.parameters import drawn_as, is_logarithm
from arcformer.sim.preset import Preset
from arcformer.sim.priors import ONE
from arcformer.sim.render import clean_images, draw_lens
from arcformer.sim.substructure import NoSubstructure
from arcformer.studies.pictures import SIGNED, Layer, light_layer, portrait

__all__ = ["NEEDED", "Predictive", "describes", "picture", "predictive"]

NEEDED = ("theta_E", "e1", "e2")
"""Without an estimate of these there is nothing to draw."""

DRAWS = 48
SIZES, INDICES = (0.03, 0.25, 0.5, 0.75, 0.97), (0.1, 0.9)
"""Of the profiles that make up the light of the lens, as shares of their priors; each size comes with each index."""

TRIES = 60
"""Of places and ellipticities of the light of the lens."""

EXPOSURES = 33
ALIKE = 1.5
"""The noise of a preset is believed where the sky's scatter is its within this factor."""

FAINTEST = 1e-3
"""Of the brightest pixel: where no noise is known and none is seen, this stands for it."""

SHOWN = 5.0
"""Residuals beyond this, in units of the noise, are drawn as if they were this."""

LIMITS = {"theta_E": (0.05, 20.0), "slope": (0.3, 1.7), "source_size": (0.01, 10.0), "source_index": (0.3, 8.0)}
"""A posterior may have samples that no lens is; they are drawn as the nearest that can be rendered."""

ROUND = 0.85
"""No galaxy is drawn with a greater ellipticity."""


@dataclass(frozen=True)
class Predictive:
    """What a posterior says of one image.

    Attributes:
        image: what was looked at.
        model: (C, H, W), the mean over samples, in the unit of the image.
        noise: (C, H, W), standard deviation.
        residual: (C, H, W), (image - model) / noise; not a number where masked.
        caption: what was estimated, what was assumed and what was fitted.
    """

    image: LensBatch
    model: Tensor
    noise: Tensor
    residual: Tensor
    caption: str

    @property
    def chi2(self) -> float:
        """The mean of the squares of the residuals; 1 where the model is right and the noise is known."""
        return float(self.residual.square().nanmean())


def describes(targets: Mapping[str, Any] | tuple[str, ...]) -> bool:
    """Whether a lens can be drawn from estimates of these targets."""
    return all(name in targets for name in NEEDED)


def predictive(image: LensBatch, posterior: Mapping[str, Tensor], preset: Preset, *, draws: int = DRAWS) -> Predictive:
    """What is left of an image where its posterior is right.

    Args:
        image: a batch of one, on the pixels that the network sees, in a physical unit, with its pixel scale.
        posterior: samples (S,) of each target by name; those of ``NEEDED`` at least.
        preset: that the run was trained on.
        draws: how many samples are rendered, S at most.
    """
    flux = image.images[0].double().cpu().numpy()
    noise, noise_is = _noise(image, preset)
    good = np.isfinite(flux) & (noise > 0)
    if image.mask is not None:
        good &= ~image.mask[0].cpu().numpy()
    lens = _like(preset, image)
    sources, drawn = _sources(lens, {name: values.double().cpu()[:draws] for name, values in posterior.items()})
    seen = [_Seen(*planes) for planes in zip(flux, noise, good, strict=True)]
    light, shape = _lens_light(lens, preset, drawn, sources.mean(0), seen)
    models = [[channel.fitted(source, light) for source in sources] for channel in seen]
    model = np.mean(models, axis=1)
    residual = np.where(good, (flux - model) / np.where(good, noise, 1.0), np.nan)
    estimated = [name for name in posterior if drawn_as(name) in drawn]
    caption = (
        f"Posterior ({len(sources)} samples): {', '.join(estimated)}. All else at the medians of {preset.name}, no "
        f"substructure. Fitted to the image: flux of the source, level of the sky{shape}. "
        f"PSF: {_psf_is(image)}. noise: {noise_is}."
    )
    model, noise, residual = (torch.from_numpy(planes) for planes in (model, noise, residual))
    return Predictive(image, model, noise, residual, caption)


def picture(found: Predictive) -> Figure:
    """Image, model and residual side by side, the arcs of the image outlined on both."""
    light = light_layer(found.image.images, found.image.unit, found.image.mask)
    model = Layer(found.model.float().mean(0)[None], "mean of the models", light.norm)
    plane = found.residual.float().nanmean(0)[None] * len(found.residual) ** 0.5
    left = Layer(plane, f"residual / noise, χ² / pixel {found.chi2:.3g}", CenteredNorm(halfrange=SHOWN), SIGNED)
    return portrait(found.image, maps=(model, left), caption=found.caption)


def _like(preset: Preset, image: LensBatch) -> Preset:
    """The preset at its medians, smooth, on the pixels of an image and with its PSF."""
    scale = float(image.pixel_scale[0]) if image.pixel_scale is not None else preset.pixel_scale
    instrument = replace(preset.instrument, pixels=image.images.shape[-1], pixel_scale=scale, copies=1)
    if image.psf is not None:
        kernel = image.psf[0].double().cpu()
        instrument = replace(instrument, psf=PixelPSF(kernel / kernel.sum(), scale))
    return replace(typical(preset), populations={"smooth": NoSubstructure()}, instrument=instrument, projected=False)


def _sources(lens: Preset, samples: Mapping[str, Tensor]) -> tuple[NDArray[np.float64], dict[str, Tensor]]:
    """Images (S, H, W) of the lensed source, of flux one each, and the parameters (S,) that they are drawn with."""
    count = len(next(iter(samples.values())))
    drawn = draw_lens(replace(lens, lens_light=()), torch.zeros(count, dtype=torch.int64), 0)
    given = {drawn_as(name): 10**values if is_logarithm(name) else values for name, values in samples.items()}
    for name in given.keys() & drawn.keys():
        drawn[name] = given[name].clamp(*LIMITS.get(name, (-math.inf, math.inf)))
    drawn |= _rounder(drawn, "") | _rounder(drawn, "source_")
    if "source_core" in drawn:
        drawn["source_core"] = lens.source.core * drawn["source_size"]  # pyright: ignore[reportAttributeAccessIssue]
    images = clean_images(replace(lens, lens_light=()), drawn, compiled=False)[:, 0].double().numpy()
    return images / images.sum((1, 2), keepdims=True).clip(min=1e-300), drawn


def _rounder(drawn: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Ellipticities that are too great brought to ``ROUND``."""
    if f"{prefix}e1" not in drawn:
        return {}
    e1, e2 = drawn[f"{prefix}e1"], drawn[f"{prefix}e2"]
    less = (ROUND / torch.hypot(e1, e2)).clamp(max=1.0)
    return {f"{prefix}e1": e1 * less, f"{prefix}e2": e2 * less}


def _lens_light(
    lens: Preset, preset: Preset, drawn: Mapping[str, Tensor], source: NDArray[np.float64], seen: list[_Seen]
) -> tuple[NDArray[np.float64], str]:
    """Profiles (K, H, W) of the light of the lens, where and as flat as leaves least; and words for it."""
    if not preset.lens_light or not isinstance(galaxy := preset.lens_light[0], Galaxy):
        return np.zeros((0, *source.shape)), ""
    shares = torch.tensor(SIZES, dtype=torch.float64)
    sizes = galaxy.size.quantile(shares).repeat(len(INDICES))
    indices = galaxy.index.quantile(shares.new_tensor(INDICES)).repeat_interleave(len(SIZES))
    profile = replace(lens, lens_light=lens.lens_light[:1])
    profiles = draw_lens(profile, torch.zeros(len(sizes), dtype=torch.int64), 0)
    dark = torch.zeros_like(sizes)
    profiles |= dict.fromkeys({"source_amplitude", "source_flux"} & profiles.keys(), dark)
    profiles |= {"light_size": sizes[:, None], "light_index": indices[:, None]}
    x, y = (float(drawn[f"lens_{axis}"].mean()) for axis in "xy")

    def images(shape: NDArray[np.float64]) -> NDArray[np.float64]:
        e1, e2 = shape[:2] * min(1.0, ROUND / max(float(np.hypot(*shape[:2])), 1e-9))
        own = {"light_e1": e1, "light_e2": e2, "light_x": x + shape[2], "light_y": y + shape[3]}
        placed = {name: torch.full_like(sizes, at)[:, None] for name, at in own.items()}
        found = clean_images(profile, profiles | placed, compiled=False)[:, 0].double().numpy()
        return found / found.sum((1, 2), keepdims=True)

    def left(shape: NDArray[np.float64]) -> float:
        light = images(shape)
        return sum(channel.left(channel.fitted(source, light)) for channel in seen)

    steps = np.diag([0.15, 0.15, 0.05, 0.05])
    options = {"initial_simplex": np.vstack([0 * steps[0], steps]), "maxfev": TRIES, "xatol": 2e-3, "fatol": 0.1}
    best = minimize(left, 0 * steps[0], method="Nelder-Mead", options=options).x
    return images(best), f", light of the lens ({len(sizes)} profiles of one place and ellipticity)"


@dataclass(frozen=True)
class _Seen:
    """One channel: its flux, its noise and which pixels are good, (H, W) each."""

    flux: NDArray[np.float64]
    noise: NDArray[np.float64]
    good: NDArray[np.bool_]

    def fitted(self, source: NDArray[np.float64], light: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum of source (H, W), light (K, H, W) and a level that is nearest to the image; the level may be < 0."""
        parts = np.stack([source, *light, np.ones_like(source)])
        if self.good.sum() <= len(parts):
            return np.zeros_like(source)
        planes = np.stack([*parts, self.flux])[:, self.good] / self.noise[self.good]
        triangle = np.linalg.qr(planes.T).R  # as good as all pixels, and small
        lowest = np.array([0.0] * (len(parts) - 1) + [-np.inf])
        found = lsq_linear(triangle[:, :-1], triangle[:, -1], (lowest, np.inf), method="bvls")
        return (found.x[:, None, None] * parts).sum(0)

    def left(self, model: NDArray[np.float64]) -> float:
        return float((((self.flux - model)[self.good] / self.noise[self.good]) ** 2).sum())


def _noise(image: LensBatch, preset: Preset) -> tuple[NDArray[np.float64], str]:
    """Standard deviation (C, H, W), and in words where it comes from."""
    flux = image.images[0].double().cpu()
    if image.noise_std is not None:
        return image.noise_std[0].double().cpu().numpy(), "as the file states it"
    sky = sky_rms(image.images, image.mask)[0].double().cpu()
    instrument = preset.instrument
    if image.unit == instrument.noise.unit and _same(image, instrument.pixel_scale):
        exposure = getattr(instrument.noise, "exposure", ONE)
        times = exposure.quantile(torch.linspace(0, 1, EXPOSURES, dtype=torch.float64))
        each = {"exposure": times}
        one = torch.ones(EXPOSURES, 1, 1, 1, dtype=torch.float64)
        unit = instrument.noise.mean(one, each)
        smooth = F.avg_pool2d(flux[None], 5, 1, 2, count_include_pad=False)[0]  # its own noise would count as light
        noise = instrument.noise.std(smooth.clamp(min=0) / unit, each)
        drawn = noise * torch.randn(flux.shape, generator=torch.Generator().manual_seed(0), dtype=flux.dtype)
        off = (sky_rms(drawn).mean(1) / sky.mean()).log().abs()  # what would be found, of light and sky together
        best = int(off.argmin())
        if off[best] < math.log(ALIKE):
            std = instrument.noise.std((flux.clamp(min=0) / unit[best])[None], {"exposure": times[best : best + 1]})
            return std[0].numpy(), f"of the instrument of {preset.name}, exposed as the sky says"
    least = FAINTEST * flux.abs().amax()  # of noise-free images there would be none
    return sky.clamp(min=least)[:, None, None].expand_as(flux).numpy().copy(), "the scatter of the sky, no photon noise"


def _same(image: LensBatch, pixel_scale: float) -> bool:
    return image.pixel_scale is not None and abs(float(image.pixel_scale[0]) / pixel_scale - 1) < 1e-3


def _psf_is(image: LensBatch) -> str:
    return "of the preset" if image.psf is None else "of the file"

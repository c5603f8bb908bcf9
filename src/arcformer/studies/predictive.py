"""Posterior predictive pictures: an image, the lenses that a posterior says it may be, and what is left of it.

Lens and source are rendered anew by the simulator of the run's preset for each of some posterior samples, on the pixels
of the image and through its PSF. What is not a target is at the median of its prior, and there is no substructure. What
of an image is linear is fitted to it, for every sample, so that it can be compared where no brightness was estimated:
the flux of the source, that of the light of the lens, neither of them negative, and the level of the sky. The light of
the lens is a sum of profiles of several sizes about its place, with one ellipticity, which is fitted too. The mean over
the samples is the model, and the residual is in units of the noise.

Shapes: one image, C channels, H x W pixels, S samples, K profiles of the lens.
"""

from __future__ import annotations

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

from arcformer.batch import LensBatch
from arcformer.data.sky import sky_rms
from arcformer.sim.galaxies import Galaxy
from arcformer.sim.instrument import PixelPSF
from arcformer.sim.parameters import typical
from arcformer.sim.preset import Preset
from arcformer.sim.render import clean_images, draw_lens
from arcformer.sim.substructure import NoSubstructure
from arcformer.studies.pictures import SIGNED, Layer, light_layer, portrait

__all__ = ["NEEDED", "Predictive", "describes", "picture", "predictive"]

NEEDED = ("theta_E", "e1", "e2")
"""Without an estimate of these there is nothing to draw."""

DRAWS = 48
SIZES = (0.03, 0.25, 0.5, 0.75, 0.97)
"""Half-light radii of the profiles that make up the lens, as shares of their prior."""

TRIES = 40
"""Of ellipticities of the light of the lens."""

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
    estimated = [name for name in posterior if _bare(name) in drawn]
    caption = (
        f"Posterior ({len(sources)} samples): {', '.join(estimated)}. All else at the medians of {preset.name}, no "
        f"substructure. Fitted to the image: flux of the source, level of the sky{shape}. "
        f"PSF: {_psf_is(image)}. σ: {noise_is}."
    )
    found = (torch.from_numpy(planes) for planes in (model, noise, residual))
    return Predictive(image, *found, caption)


def picture(found: Predictive) -> Figure:
    """Image, model and residual side by side, the arcs of the image outlined on both."""
    light = light_layer(found.image.images, found.image.unit, found.image.mask)
    model = Layer(found.model.float().mean(0)[None], "mean of the models", light.norm)
    plane = found.residual.float().nanmean(0)[None] * len(found.residual) ** 0.5
    left = Layer(plane, f"residual [σ], χ² / pixel {found.chi2:.3g}", CenteredNorm(halfrange=SHOWN), SIGNED)
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
    given = {_bare(name): values if name == _bare(name) else 10**values for name, values in samples.items()}
    drawn |= {name: values.clamp(*LIMITS.get(name, (None, None))) for name, values in given.items() if name in drawn}
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
    """Profiles (K, H, W) of the light of the lens, of the ellipticity that leaves least; and words for it."""
    if not preset.lens_light or not isinstance(galaxy := preset.lens_light[0], Galaxy):
        return np.zeros((0, *source.shape)), ""
    sizes = galaxy.size.quantile(torch.tensor(SIZES, dtype=torch.float64))
    profile = replace(lens, lens_light=lens.lens_light[:1])
    profiles = draw_lens(profile, torch.zeros(len(sizes), dtype=torch.int64), 0)
    dark = torch.zeros_like(profiles["source_amplitude"] if "source_amplitude" in profiles else sizes)
    profiles |= {"source_amplitude": dark, "source_flux": dark, "light_size": sizes[:, None]}
    profiles |= {f"light_{axis}": profiles[f"light_{axis}"] + drawn[f"lens_{axis}"].mean() for axis in "xy"}

    def images(ellipticity: NDArray[np.float64]) -> NDArray[np.float64]:
        e1, e2 = ellipticity * min(1.0, ROUND / max(float(np.hypot(*ellipticity)), 1e-9))
        flattened = {f"light_{e}": torch.full_like(sizes, at)[:, None] for e, at in (("e1", e1), ("e2", e2))}
        found = clean_images(profile, profiles | flattened, compiled=False)[:, 0].double().numpy()
        return found / found.sum((1, 2), keepdims=True)

    def left(ellipticity: NDArray[np.float64]) -> float:
        light = images(ellipticity)
        return sum(channel.left(channel.fitted(source, light)) for channel in seen)

    start = [[0.0, 0.0], [0.2, 0.0], [0.0, 0.2]]
    options = {"initial_simplex": start, "maxfev": TRIES, "xatol": 3e-3, "fatol": 1e-3}
    best = minimize(left, start[0], method="Nelder-Mead", options=options).x
    return images(best), f", light of the lens ({len(sizes)} profiles of one ellipticity)"


@dataclass(frozen=True)
class _Seen:
    """One channel: its flux, its noise and which pixels are good, (H, W) each."""

    flux: NDArray[np.float64]
    noise: NDArray[np.float64]
    good: NDArray[np.bool_]

    def fitted(self, source: NDArray[np.float64], light: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum of source (H, W), light (K, H, W) and a level that is nearest to the image, none but the level < 0."""
        parts = np.stack([source, *light, np.ones_like(source)])
        triangle = np.linalg.qr(np.column_stack([*(parts / self.noise)[:, self.good], self._scaled]), mode="r")
        lowest = np.array([0.0] * (len(parts) - 1) + [-np.inf])
        found = lsq_linear(triangle[:, :-1], triangle[:, -1], (lowest, np.inf), method="bvls")
        return np.tensordot(found.x, parts, 1)

    def left(self, model: NDArray[np.float64]) -> float:
        return float((((self.flux - model) / self.noise)[self.good] ** 2).sum())

    @property
    def _scaled(self) -> NDArray[np.float64]:
        return (self.flux / self.noise)[self.good]


def _noise(image: LensBatch, preset: Preset) -> tuple[NDArray[np.float64], str]:
    """Standard deviation (C, H, W), and in words where it comes from."""
    flux = image.images[0].double().cpu()
    if image.noise_std is not None:
        return image.noise_std[0].double().cpu().numpy(), "as the file states it"
    like = typical(preset).instrument
    scale = float(image.pixel_scale[0]) if image.pixel_scale is not None else like.pixel_scale
    if image.unit == like.noise.unit and abs(scale / like.pixel_scale - 1) < 1e-3:
        drawn = like.noise.draw(1, torch.Generator())
        one = like.noise.mean(torch.ones(1, 1, 1, 1, dtype=torch.float64), drawn)
        std = like.noise.std(flux.clamp(min=0)[None] / one, drawn)[0]
        if bool((std > 0).all()):
            return std.numpy(), f"of the instrument of {preset.name}"
    rms = sky_rms(image.images, image.mask)[0].double().cpu()
    return rms[:, None, None].expand_as(flux).numpy().copy(), "the scatter of the sky, without photon noise"


def _psf_is(image: LensBatch) -> str:
    return "of the preset" if image.psf is None else "of the file"


def _bare(name: str) -> str:
    return name.removeprefix("log10_")

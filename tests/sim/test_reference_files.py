"""Simulated images against those that DeepLenseSim's own code has made: per class, the same distributions.

Two-sample Kolmogorov-Smirnov tests of what can be measured on each image: radius and width of the ring, flux, peak,
sky, quantiles of the pixels. All of them together err once in a hundred times on images that are right (Bonferroni),
and seeds are fixed. That they can fail is shown by presets that are wrong in one thing each.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from scipy import stats
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.data.deeplense import scan
from arcformer.data.files import read_image
from arcformer.sim.instrument import DoublePoissonCounts
from arcformer.sim.presets import PRESETS, Preset
from arcformer.sim.priors import Fixed, LogUniform, PowerLaw
from arcformer.sim.render import simulate
from arcformer.studies.leaks import FEATURES, trivial_features

MODELS = {"deeplense/model-1": "Model_I", "deeplense/model-2": "Model_II"}
QUANTILES = (0.5, 0.75, 0.9, 0.97, 0.99, 0.999)
MEASURES = (*FEATURES, *(f"pixels {q}" for q in QUANTILES), "dark pixels", "light over sky", "noise over counts")
SIMULATED = 150  # of each class
ERROR = 0.01 / (len(MODELS) * 3 * len(MEASURES))


def measured(batch: LensBatch) -> Tensor:
    """``MEASURES`` of each image, (B, M)."""
    pixels = batch.images[:, 0].double()
    flat = pixels.flatten(1)
    quantiles = flat.quantile(torch.tensor(QUANTILES, dtype=torch.float64), dim=1).T
    sky = torch.cat([pixels[:, :8].flatten(1), pixels[:, -8:].flatten(1)], dim=1).mean(1)
    # what is left of the brightest pixels when a plane is taken away, against what is in them: 2 where noise is twice
    rough = (pixels[:, 1:, 1:] - pixels[:, 1:, :-1] - pixels[:, :-1, 1:] + pixels[:, :-1, :-1]).square() / 4
    bright = (pixels[:, 1:, 1:] + pixels[:, :-1, :-1]) / 2
    there = bright > quantiles[:, 3, None, None]
    noise = (rough * there).sum((1, 2)) / (bright * there).sum((1, 2))
    more = torch.stack([(flat == 0).double().mean(1), flat.mean(1) / sky, noise], dim=1)
    return torch.cat([trivial_features(batch), quantiles, more], dim=1)


class Disagreement(NamedTuple):
    """The measure in which two samples of images differ most, and the p-value of that."""

    p_value: float
    measure: str


def disagreement(ours: Tensor, theirs: Tensor) -> Disagreement:
    columns = zip(MEASURES, ours.T.numpy(), theirs.T.numpy(), strict=True)
    return min(Disagreement(stats.ks_2samp(a, b).pvalue, name) for name, a, b in columns)


@pytest.fixture(scope="module")
def reference(samples):
    """Measures of the reference-made files of a model, by class."""
    known: dict[str, dict[str, Tensor]] = {}

    def of(preset: str) -> dict[str, Tensor]:
        if preset not in known:
            classes, scale = PRESETS.get(preset).classes, PRESETS.get(preset).pixel_scale
            files = scan(samples / "deeplense" / MODELS[preset], classes)
            measures = measured(LensBatch.collate([read_image(path, pixel_scale=scale) for path in files.paths]))
            labels = torch.tensor(files.labels)
            known[preset] = {name: measures[labels == label] for label, name in enumerate(classes)}
        return known[preset]

    return of


def simulated(preset: Preset, name: str) -> Tensor:
    return measured(simulate(preset, seed=20, labels=[name] * SIMULATED))


@pytest.mark.parametrize("name", ["no_sub", "cdm", "axion"])
@pytest.mark.parametrize("preset", MODELS)
def test_images_are_distributed_as_the_published_code_makes_them(reference, preset, name):
    found = disagreement(simulated(PRESETS.get(preset), name), reference(preset)[name])
    assert found.p_value > ERROR, found.measure


class OnceNoisy(DoublePoissonCounts):
    """Photon noise once, as it should be."""

    def observe(self, clean, parameters, generator):
        background = self.background_rms * torch.randn(clean.shape, generator=generator)
        rate = parameters["exposure"][:, None, None] * (clean + background)
        return torch.poisson(rate.clamp(min=0), generator=generator)


def with_noise(preset: Preset, noise: DoublePoissonCounts) -> Preset:
    return replace(preset, instrument=replace(preset.instrument, noise=noise))


def with_subhalos(preset: Preset, **change) -> Preset:
    changed = replace(preset.populations["cdm"], **change)
    return replace(preset, populations={**preset.populations, "cdm": changed})


ONE, TWO = (PRESETS.get(name) for name in MODELS)
RIGHT_RADIUS = Fixed(1e12 * (1.6645 / 1.2815) ** 2)  # the mass that has it by the published formula
WRONG = {
    "Einstein radius": (replace(ONE, lens=replace(ONE.lens, halo_mass=RIGHT_RADIUS)), "no_sub"),
    "noise once": (with_noise(ONE, OnceNoisy(ONE.instrument.noise.exposure, 0.01)), "no_sub"),
    "background": (with_noise(ONE, replace(ONE.instrument.noise, background_rms=0.015)), "no_sub"),
    "exposure": (with_noise(ONE, replace(ONE.instrument.noise, exposure=LogUniform(10**3.2, 10**3.7))), "no_sub"),
    "magnitude": (replace(TWO, source=replace(TWO.source, magnitude=Fixed(20.05))), "axion"),
    "pixel scale": (replace(TWO, instrument=replace(TWO.instrument, pixel_scale=0.1)), "no_sub"),
    "deflection scaling": (replace(TWO, geometry=replace(TWO.geometry, z_convention=None)), "no_sub"),
    "mass function": (with_subhalos(TWO, mass=PowerLaw(-1.9, 1e6, 1e10)), "cdm"),
    "number of subhalos": (with_subhalos(TWO, size=15), "cdm"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_preset_that_is_wrong_in_one_thing_is_rejected(reference, what):
    preset, name = WRONG[what]
    assert disagreement(simulated(preset, name), reference(preset.name)[name]).p_value < ERROR

"""Noise-free images against lenstronomy's, for the same parameters. The oracle is that of the benchmarks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracle import ORACLES, SCIENCE, rows
from scipy.ndimage import gaussian_filter

from arcformer.sim.instrument import GaussianPSF, pixel_grid
from arcformer.sim.lens import Macromodel
from arcformer.sim.preset import MACROMODEL
from arcformer.sim.presets import PRESETS
from arcformer.sim.render import clean_images, draw

CLASSES = ("no_sub", "cdm", "axion")


def difference(preset, parameters, dtype=torch.float64):
    """max|difference| over the peak, of the worst image."""
    oracle = (ORACLES | SCIENCE)[preset.name]
    theirs = np.stack([oracle.image(oracle.keywords(row)) for row in rows(parameters)])
    ours = clean_images(preset, parameters, dtype=dtype)[:, 0].numpy()
    return (abs(ours - theirs).max((1, 2)) / theirs.max((1, 2))).max()


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("preset", ORACLES)
def test_images_are_those_of_lenstronomy(preset, name):
    preset = PRESETS.get(preset)
    parameters = draw(preset, torch.full((3,), preset.classes.index(name)), 11)
    assert difference(preset, parameters) < 1e-8
    assert difference(preset, parameters, torch.float32) < 1e-5


@pytest.mark.parametrize("name", ["no_sub", "cdm"])
@pytest.mark.parametrize("preset", SCIENCE)
def test_science_is_that_of_lenstronomy_but_for_the_projection(preset, name):
    preset = replace(PRESETS.get(preset), projected=False)
    parameters = draw(preset, torch.full((2,), preset.classes.index(name)), 11)
    assert difference(preset, parameters) < 1e-5
    assert difference(preset, parameters, torch.float32) < 1e-4


@pytest.mark.parametrize("preset", ["deeplense/model-1", "deeplense/model-2"])
def test_so_they_are_for_lenses_that_the_presets_never_draw(preset):
    """Their e2, gamma2 and centre are zero, their index is one: a wrong sign or power would not be seen."""
    preset = PRESETS.get(preset)
    parameters = draw(preset, torch.tensor([0, 1, 1, 0]), 12)
    generator = torch.Generator().manual_seed(0)
    for name, low, high in (
        ("e1", -0.2, 0.2), ("e2", -0.2, 0.2), ("gamma1", -0.1, 0.1), ("gamma2", -0.1, 0.1),
        ("lens_x", -0.3, 0.3), ("lens_y", -0.3, 0.3),
        ("source_e1", -0.3, 0.3), ("source_e2", -0.3, 0.3), ("source_size", 0.1, 0.5), ("source_index", 0.7, 3.0),
    ):  # fmt: skip
        parameters[name] = low + (high - low) * torch.rand(4, generator=generator, dtype=torch.float64)
    parameters["e1"][0] = parameters["e2"][0] = 0.0
    if preset.source.magnitude is not None:  # the amplitude follows from the shape that has just been changed
        oracle = ORACLES[preset.name]
        amplitudes = [oracle.keywords(row).source[0]["amp"] for row in rows(parameters)]
        parameters["source_amplitude"] = torch.tensor(amplitudes, dtype=torch.float64)
    assert difference(preset, parameters) < 1e-5


def test_a_difference_would_be_seen():
    preset = PRESETS.get("deeplense/model-1")
    parameters = draw(preset, torch.tensor([1]), 13)
    oracle = ORACLES[preset.name]
    theirs = oracle.image(oracle.keywords(rows(parameters)[0]))
    parameters["theta_E"] *= 1 + 1e-5
    ours = clean_images(preset, parameters, dtype=torch.float64)[0, 0].numpy()
    assert abs(ours - theirs).max() / theirs.max() > 1e-5


@pytest.mark.parametrize("psf", [GaussianPSF(0.087, 3.0), GaussianPSF(0.3, 5.0), GaussianPSF(0.01, 3.0)])
def test_the_psf_is_scipys_gaussian_filter(psf):
    images = torch.rand(2, 13, 17, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sigma = psf.fwhm / np.sqrt(8 * np.log(2)) / 0.05
    expected = np.stack([gaussian_filter(i, sigma, mode="nearest", truncate=psf.truncation) for i in images.numpy()])
    np.testing.assert_allclose(psf.convolve(images, 0.05).numpy(), expected, rtol=1e-12)


def test_the_psf_as_an_image_is_what_a_star_looks_like():
    psf = GaussianPSF(0.16, 5.0)
    (kernel,) = psf.kernel(0.101)
    side = len(kernel)
    assert kernel.sum().item() == pytest.approx(1)
    star = torch.zeros(1, 3 * side, 3 * side)
    star[0, side + side // 2, side + side // 2] = 1
    torch.testing.assert_close(psf.convolve(star, 0.101)[0, side : 2 * side, side : 2 * side], kernel)


@pytest.mark.parametrize("e1", [0.0, 0.1])
def test_a_ray_through_the_centre_of_the_lens_is_not_lost(e1):
    x, y = (axis.flatten() for axis in pixel_grid(5, 0.1, torch.float64, torch.device("cpu")))
    parameters = {name: torch.zeros(1, dtype=torch.float64) for name in MACROMODEL}
    parameters |= {"theta_E": torch.ones(1, dtype=torch.float64), "slope": torch.ones(1, dtype=torch.float64)}
    lens = Macromodel.of(parameters | {"e1": torch.full((1,), e1, dtype=torch.float64)})
    deflection = Macromodel.unstacked(lens.stacked()).deflection(x, y)
    assert torch.stack(deflection).isfinite().all()
    assert [component[0, 12].item() for component in deflection] == [0, 0]
    if e1 == 0:  # an isothermal sphere deflects by theta_E everywhere
        strength = torch.hypot(*deflection)[0]
        torch.testing.assert_close(strength[:12], torch.ones(12, dtype=torch.float64), rtol=1e-5, atol=0)


def test_a_preset_without_the_scaling_would_not_agree():
    preset = PRESETS.get("deeplense/model-2")
    unscaled = replace(preset, geometry=replace(preset.geometry, z_convention=None))
    assert difference(unscaled, draw(unscaled, torch.tensor([0]), 14)) > 0.1

"""Noise: what is stated of it is what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracle import ORACLES
from scipy import stats

from arcformer.errors import InputError
from arcformer.sim.instrument import DoublePoissonCounts, GaussianPSF, Instrument
from arcformer.sim.presets import PRESETS
from arcformer.sim.priors import LogUniform
from arcformer.sim.render import clean_images, simulate

NOISE = DoublePoissonCounts(exposure=LogUniform(10**3, 10**3.5), background_rms=0.01)
FLUX = torch.tensor([0.08, 0.2, 0.5, 1.0, 2.0])  # far enough above zero not to be clipped


def observed(flux: float, exposure: float, count: int = 40_000, seed: int = 0) -> torch.Tensor:
    """Pixels of one brightness."""
    clean = torch.full((1, 1, 1, count), flux)
    return NOISE.observe(clean, {"exposure": torch.tensor([exposure])}, torch.Generator().manual_seed(seed)).flatten()


@pytest.mark.parametrize("exposure", [1000.0, 3000.0])
@pytest.mark.parametrize("flux", FLUX.tolist())
def test_mean_and_scatter_are_as_stated_at_every_flux(flux, exposure):
    counts, known = observed(flux, exposure), {"exposure": torch.tensor([exposure])}
    clean = torch.full((1, 1, 1, 1), flux)
    std = NOISE.std(clean, known).item()
    assert std == pytest.approx(np.sqrt(2 * exposure * flux + (exposure * 0.01) ** 2))
    assert NOISE.mean(clean, known).item() == pytest.approx(exposure * flux)
    assert counts.mean().item() == pytest.approx(exposure * flux, abs=5 * std / 200)
    assert counts.var().item() == pytest.approx(std**2, rel=0.035)  # five standard errors
    assert counts.eq(counts.round()).all()


def test_photon_noise_once_would_be_seen():
    once = 1000 * 0.5 + 10**2
    assert abs(observed(0.5, 1000.0).var().item() / once - 1) > 0.5


@pytest.mark.parametrize("flux", [0.0, 0.003, 0.02, 0.3])
def test_clipped_or_not_it_is_the_noise_of_the_published_code(flux):
    np.random.seed(0)  # noqa: NPY002 the published code draws from it
    clean = np.full((200, 200), flux)
    theirs = ORACLES["deeplense/model-1"].observed(clean, {"exposure": 1500.0}).flatten()
    ours = observed(flux, 1500.0).numpy()
    values = np.unique(np.quantile(theirs, np.linspace(0, 1, 20)))
    table = [np.histogram(sample, [*values, np.inf])[0] for sample in (ours, theirs)]
    assert stats.chi2_contingency(np.array(table)).pvalue > 1e-3
    if flux == 0:
        assert (ours == 0).mean() == pytest.approx(0.5, abs=0.03)


def test_each_image_has_its_own_exposure():
    clean = torch.full((40, 1, 30, 30), 0.3)
    exposure = torch.linspace(1000, 3000, 40)
    counts = NOISE.observe(clean, {"exposure": exposure}, torch.Generator().manual_seed(0))
    torch.testing.assert_close(counts.mean((1, 2, 3)), 0.3 * exposure, rtol=0.02, atol=0)


def test_no_image_is_no_error():
    nothing = torch.zeros(0, 1, 5, 5)
    assert NOISE.observe(nothing, {"exposure": torch.zeros(0)}, torch.Generator()).shape == (0, 1, 5, 5)


@pytest.mark.parametrize("name", ["deeplense/model-2", "deeplense/model-3"])
def test_models_2_and_3_are_exactly_twice_the_clean_image(name):
    batch = simulate(name, 6, seed=3, truth=True)
    clean = clean_images(PRESETS.get(name), batch.extras)
    assert batch.images.equal(2 * clean)
    assert batch.extras["clean"].equal(2 * clean)
    assert batch.noise_std.eq(0).all()


def test_a_batch_carries_the_truth_about_its_noise():
    batch = simulate("deeplense/model-1", 12, seed=4, truth=True)
    residual = (batch.images - batch.extras["clean"]) / batch.noise_std
    bright = batch.extras["clean"] > 5 * batch.noise_std
    assert bright.sum() > 3000
    assert residual[bright].std().item() == pytest.approx(1, abs=0.04)
    assert residual[bright].mean().item() == pytest.approx(0, abs=0.06)


def test_instruments_that_cannot_be():
    psf = PRESETS.get("deeplense/model-1").instrument.psf
    for pixels, scale in ((0, 0.05), (10, 0.0)):
        with pytest.raises(InputError, match="both must be positive"):
            Instrument(pixels, scale, psf, NOISE)
    for fwhm, truncation in ((0.0, 3.0), (0.1, -1.0)):
        with pytest.raises(InputError, match="width and truncation must be positive"):
            GaussianPSF(fwhm, truncation)

"""Lenses rendered anew: where the posterior is right nothing but noise is left, and where it is wrong it shows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from arcformer.batch import LensBatch
from arcformer.data.resample import resample
from arcformer.sim.named_priors import held_at, typical
from arcformer.sim.presets import PRESETS
from arcformer.sim.priors import Fixed
from arcformer.sim.render import simulate
from arcformer.studies.predictive import describes, picture, predictive
from arcformer.studies.style import png

TRUTH = {
    "theta_E": 1.2, "e1": 0.1, "e2": -0.05, "gamma1": 0.03, "gamma2": -0.02, "source_x": 0.1, "source_y": -0.12,
    "source_size": 0.2, "lens_x": 0.04, "lens_y": -0.03,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCFORMER_EAGER", "1")


def seen(name: str = "survey/hst", **others: float) -> LensBatch:
    """A smooth lens with a smooth source, of a preset at its medians but for what is known of it."""
    preset = typical(PRESETS.get(name))
    for parameter, value in (TRUTH | others).items():
        preset = held_at(preset, parameter, value)
    preset = replace(preset, source=replace(preset.source, magnitude=Fixed(21.5)))
    return simulate(preset, labels=["no_sub"], seed=3, truth=True)


def posterior(**others: float) -> dict[str, torch.Tensor]:
    return {name: torch.full((5,), value) for name, value in (TRUTH | others).items()}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("survey/hst", {"theta_E": 1.3}),
        ("survey/euclid-vis", {"source_x": 0.2}),
        ("corrected/model-2", {"e1": -0.1}),
    ],
)
def test_nothing_but_noise_is_left_where_the_posterior_is_right(name, wrong):
    preset, image = PRESETS.get(name), seen(name)
    found = predictive(image, posterior(), preset)
    assert found.chi2 == pytest.approx(1, abs=0.08)
    clean = image.extras["clean"][0].double()
    assert float(((found.model - clean) / found.noise).square().mean()) < 0.05
    assert found.model.shape == found.noise.shape == found.residual.shape == image.images.shape[1:]
    assert predictive(image, posterior(**wrong), preset).chi2 > found.chi2 + 0.05


def test_brightness_and_sky_are_fitted():
    preset, image = PRESETS.get("survey/hst"), seen()
    right = predictive(image, posterior(), preset)
    other = replace(image, images=7 * image.images + 3, noise_std=7 * image.noise_std)
    torch.testing.assert_close(predictive(other, posterior(), preset).residual, right.residual, atol=2e-2, rtol=1e-2)


def test_masked_pixels_count_for_nothing():
    preset, image = PRESETS.get("survey/hst"), seen()
    mask = torch.zeros_like(image.images, dtype=torch.bool)
    mask[..., 30:34, 20:60] = True
    spoilt = replace(image, images=image.images.masked_fill(mask, 1e6), mask=mask)
    found = predictive(spoilt, posterior(), preset)
    assert found.residual.isnan().equal(mask[0])
    assert found.chi2 == pytest.approx(1, abs=0.08)
    assert png(picture(found)).startswith(b"\x89PNG")


def test_the_psf_and_the_pixels_are_those_of_the_image():
    """Blurred more, and binned by two: the model is blurred and binned with it."""
    preset, image = PRESETS.get("survey/hst"), seen()
    kernel = torch.outer(*2 * [torch.tensor([0.25, 0.5, 0.25])])[None, None]
    own = F.conv2d(image.psf[:, None], kernel, padding=2)[:, 0]
    blurred = F.conv2d(image.images, kernel, padding=1)
    noise = image.noise_std * float(kernel.square().sum().sqrt())
    coarse = resample(replace(image, images=blurred, noise_std=noise, psf=own, extras={}), 38, 2 * preset.pixel_scale)
    found = predictive(coarse, posterior(), preset)
    unaware = predictive(replace(coarse, psf=image.psf), posterior(), preset)
    assert found.model.shape == (1, 38, 38)
    assert float(found.residual.abs().mean()) < float(unaware.residual.abs().mean())
    assert "PSF: of the file" in found.caption


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "noise: as the file states it"),
        ({"noise_std": None}, "noise: of the instrument of survey/hst"),
        ({"noise_std": None, "unit": ""}, "noise: the scatter of the sky"),
    ],
)
def test_where_the_noise_comes_from_is_said(changed, said):
    image = replace(seen(), **changed)
    found = predictive(image, posterior(), PRESETS.get("survey/hst"))
    assert said in found.caption
    if not image.unit:
        return
    assert found.chi2 == pytest.approx(1, abs=0.15)


def test_the_caption_tells_estimates_from_assumptions():
    found = predictive(
        seen(), {k: v for k, v in posterior().items() if k in ("theta_E", "e1", "e2")}, PRESETS.get("survey/hst")
    )
    assert "Posterior (5 samples): theta_E, e1, e2. All else at the medians of survey/hst" in found.caption
    assert "light of the lens" in found.caption
    dark = predictive(seen("corrected/model-2"), posterior(), PRESETS.get("corrected/model-2"))
    assert "light of the lens" not in dark.caption


def test_samples_that_are_no_lens_are_drawn_as_the_nearest():
    preset, image = PRESETS.get("survey/hst"), seen()
    wild = {name: torch.tensor([-3.0, 0.0, 5.0, 1e3]) for name in TRUTH}
    found = predictive(image, wild | {"log10_source_index": torch.tensor([-9.0, 0.0, 9.0, 1.0])}, preset)
    assert found.model.isfinite().all()


def test_an_image_without_noise_or_without_pixels_is_drawn_too():
    preset, image = PRESETS.get("corrected/model-2"), seen("corrected/model-2")
    clean = replace(image, images=image.extras["clean"], noise_std=None, unit="")
    found = predictive(clean, posterior(), preset)
    assert float(found.noise.max()) == pytest.approx(1e-3 * float(clean.images.max()), rel=0.1)
    assert found.chi2 < 1
    hidden = predictive(replace(image, mask=torch.ones_like(image.images, dtype=torch.bool)), posterior(), preset)
    assert hidden.residual.isnan().all()


def test_what_describes_a_lens():
    assert describes(TRUTH)
    assert not describes({"theta_E": 1.0, "f_sub": 0.1})

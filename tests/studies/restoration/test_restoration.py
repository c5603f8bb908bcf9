"""Finer images measured: perfect ones, wrong ones, uncertain ones; and deconvolution."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from arcformer.batch import LensBatch
from arcformer.data.pairs import enlarged, observed
from arcformer.data.simulated import SimulatedBatches
from arcformer.data.transforms import Transform, TransformSection
from arcformer.errors import InputError
from arcformer.studies.restoration import sentences
from arcformer.studies.restoration.deconvolution import richardson_lucy
from arcformer.studies.restoration.evaluation import RestoredEvaluation, RestoredGathering
from arcformer.tasks import FineImage

PRESET = "deeplense/model-1"


@pytest.fixture(scope="module")
def batch() -> LensBatch:
    source = SimulatedBatches(PRESET, batch_size=12, seed=3, split="test", pixels=64, truth=True, finer=2)
    return source.batch(0)


def measured(batch: LensBatch, predict: Any, pairs: str = "given") -> RestoredEvaluation:
    """What is measured of what ``predict`` says of a batch in the range of a transform."""
    transform = Transform(TransformSection(scaling="linear")).fit([batch])
    run: Any = SimpleNamespace(transform=transform, config=SimpleNamespace(data=SimpleNamespace(pairs=pairs)))
    gathering = RestoredGathering(run, "test", 0)
    for rows in (slice(0, 5), slice(5, 12)):
        seen = transform(batch[rows])
        gathering.check(batch[rows])
        gathering.take(predict(seen), batch[rows], seen)
    common = {"name": "test", "about": "12 images", "images": 12, "ids": batch.ids}
    return gathering.conclude(**common, pictured=batch[:1], seconds=1.0, seed=0)


def test_the_truth_is_perfect_and_agrees_with_what_was_seen(batch: LensBatch) -> None:
    found = measured(batch, lambda seen: FineImage(seen.high_res, torch.ones_like(seen.high_res)))
    numbers = found.found
    assert numbers["psnr"].value == pytest.approx(200, abs=80)  # rounding in and out of the range is left
    assert numbers["ssim"].value == pytest.approx(1, abs=1e-4)
    assert numbers["flux_error"].value == pytest.approx(0, abs=1e-6)
    assert numbers["theta_E_error"].value == pytest.approx(0, abs=1e-4)
    assert numbers["power_ratio"].value == pytest.approx(1, abs=1e-3)
    assert numbers["coverage_68"].value == 1
    assert 0.5 < numbers["chi2"].value < 1.1  # counts are clipped at zero, which takes of the noise of the sky
    for rival in ("bilinear", "bicubic", "richardson_lucy"):
        assert numbers[f"psnr_above_{rival}"].low > 0
    assert "above the best method without one" in sentences.verdict(found)


def test_interpolation_is_no_better_than_itself(batch: LensBatch) -> None:
    def bicubic(seen: LensBatch) -> FineImage:
        fine = enlarged(seen.images, 2, "bicubic")
        return FineImage(fine, torch.ones_like(fine))

    found = measured(batch, bicubic).found
    for what in ("psnr", "ssim", "flux_error", "theta_E_error", "ring_width_error", "power_ratio"):
        assert found[what].value == pytest.approx(found[f"{what}_bicubic"].value, rel=1e-3, abs=1e-6), what
    assert found["psnr_above_bicubic"].value == pytest.approx(0, abs=1e-3)
    true = measured(batch, lambda seen: FineImage(seen.high_res, torch.ones_like(seen.high_res))).found
    assert found["chi2"].high < true["chi2"].low  # it carries the noise along


def test_a_gaussian_error_of_the_stated_width_is_held_as_often_as_it_says(batch: LensBatch) -> None:
    def noisy(seen: LensBatch) -> FineImage:
        assert seen.high_res is not None
        torch.manual_seed(0)
        std = 0.01 * (1 + seen.high_res.clamp_min(0))
        return FineImage(seen.high_res * 1.02 + std * torch.randn_like(std), std)

    found = measured(batch, lambda seen: replace(noisy(seen), high_res=noisy(seen).high_res - 0.02 * seen.high_res))
    for share, expected in (("68", 0.6827), ("95", 0.95)):
        for where in ("", "_lit"):
            assert found.found[f"coverage_{share}{where}"].value == pytest.approx(expected, abs=0.01)
    assert "holds as many pixels as it says" in sentences.calibration(found)
    assert measured(batch, noisy).found["flux_error"].value == pytest.approx(0.02, abs=0.003)


def test_binned_pairs_have_no_deconvolution_and_say_what_their_chi_square_is(batch: LensBatch) -> None:
    images = SimulatedBatches(PRESET, batch_size=12, seed=3, split="test", pixels=64, truth=True, binned=2).batch(0)
    found = measured(images, lambda seen: FineImage(seen.high_res, torch.ones_like(seen.high_res)), "binned")
    assert list(found.rivals) == ["bilinear", "bicubic"]
    assert found.found["chi2"].value == pytest.approx(0, abs=1e-6)
    assert "less is better" in sentences.physics(found)
    assert found.pixel_scale == pytest.approx(0.05)


def test_what_is_kept_of_every_image_gives_the_numbers_again(batch: LensBatch) -> None:
    found = measured(batch, lambda seen: FineImage(0.9 * seen.high_res, torch.ones_like(seen.high_res)))
    kept = RestoredEvaluation.weighed(found.of_each)(np.ones((1, 12)))
    assert {name: pytest.approx(float(value[0])) for name, value in kept.items()} == {
        name: estimate.value for name, estimate in found.estimates.items()
    }
    weights = np.random.default_rng(0).integers(0, 3, (4, 12)).astype(float)
    errors = np.abs(found.each["flux"])
    for row, value in zip(weights, RestoredEvaluation.weighed(found.of_each)(weights)["flux_error"], strict=True):
        drawn = np.sort(np.repeat(errors, row.astype(int)))
        assert value == drawn[(len(drawn) - 1) // 2]


def test_images_without_finer_ones_cannot_be_compared(batch: LensBatch) -> None:
    with pytest.raises(InputError, match="evaluation 'test': the images come without finer ones"):
        measured(replace(batch, high_res=None), None)


def test_deconvolution_leaves_the_truth_alone_and_keeps_the_flux(batch: LensBatch) -> None:
    assert batch.high_res is not None
    assert batch.psf is not None
    sky = batch.high_res + 1e-3 * batch.high_res.max()
    seen = observed(sky, batch.psf, 2)
    again = richardson_lucy(seen, batch.psf, 2, steps=3, start=sky)
    torch.testing.assert_close(again, sky, rtol=1e-3, atol=1e-6 * float(sky.max()))
    found = richardson_lucy(seen, batch.psf, 2)
    torch.testing.assert_close(found.sum((1, 2, 3)), seen.sum((1, 2, 3)), rtol=1e-3, atol=0)
    misfits = [
        float((observed(sky, batch.psf, 2) - seen).square().mean()) for sky in (found, enlarged(seen, 2, "bicubic"))
    ]
    assert misfits[0] < misfits[1]


def test_deconvolution_ends_where_noise_begins(batch: LensBatch) -> None:
    assert batch.high_res is not None
    assert batch.psf is not None
    assert batch.noise_std is not None
    torch.manual_seed(0)
    seen = batch.extras["clean"] + batch.noise_std * torch.randn_like(batch.images)
    given, all_steps = (
        richardson_lucy(seen, batch.psf, 2, noise_std=noise_std, steps=30) for noise_std in (batch.noise_std, None)
    )
    errors = [float((sky - batch.high_res).square().mean()) for sky in (given, all_steps)]
    assert errors[0] < errors[1]

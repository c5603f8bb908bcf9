"""Measures of images against torchmetrics, against closed forms, and by what they must not depend on."""

from __future__ import annotations

import math

import pytest
import torch
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from arcformer.metrics import ImageMean, flux_error, power, psnr, ssim


def images() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    true = torch.rand(5, 1, 24, 32) * torch.tensor([1.0, 5.0, 0.1, 30.0, 2.0]).view(-1, 1, 1, 1) - 0.2
    return true + 0.05 * torch.randn_like(true), true


def test_psnr_and_ssim_are_those_of_torchmetrics_in_the_range_of_each_image() -> None:
    found, true = images()
    for k, (psnr_of_one, ssim_of_one) in enumerate(zip(psnr(found, true), ssim(found, true), strict=True)):
        span = float(true[k].max() - true[k].min())
        oracle = PeakSignalNoiseRatio(data_range=span)(found[k : k + 1], true[k : k + 1])
        torch.testing.assert_close(psnr_of_one, oracle)
        oracle = StructuralSimilarityIndexMeasure(data_range=span)(
            found[k : k + 1] - true[k].min(), true[k : k + 1] - true[k].min()
        )
        torch.testing.assert_close(ssim_of_one, oracle, rtol=1e-4, atol=1e-5)


def test_the_unit_of_the_flux_does_not_matter_and_perfect_is_finite() -> None:
    found, true = images()
    for measure in (psnr, ssim, flux_error):
        torch.testing.assert_close(measure(1e4 * found, 1e4 * true), measure(found, true), rtol=1e-3, atol=1e-4)
    assert psnr(true, true).tolist() == [200.0] * 5
    assert flux_error(1.02 * true.abs(), true.abs()).tolist() == pytest.approx([0.02] * 5, rel=1e-3)


def test_power_of_waves_is_in_the_ring_of_their_frequency() -> None:
    x = torch.arange(64)
    for cycles in (3, 11, 30):
        wave = torch.cos(2 * math.pi * cycles * x / 64).expand(1, 1, 64, 64)
        found = power(wave, 8)[0]
        assert int(found.argmax()) == cycles * 8 // 32
        torch.testing.assert_close(found.max(), torch.tensor(64.0**4 / 2, dtype=torch.float64), rtol=1e-5, atol=0)
    assert float(power(torch.ones(1, 1, 64, 64), 8).sum()) == 0


def test_the_mean_is_over_images_however_they_come() -> None:
    found, true = images()
    metric = ImageMean(psnr)
    for rows in (slice(0, 1), slice(1, 5)):
        metric.update(found[rows], true[rows])
    torch.testing.assert_close(metric.compute(), psnr(found, true).mean())

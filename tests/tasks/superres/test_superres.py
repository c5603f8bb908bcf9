"""The task of super-resolution: where it begins, what it asks for, what its terms and its uncertainty mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from arcformer.batch import LensBatch
from arcformer.data.pairs import enlarged, observed
from arcformer.errors import InputError
from arcformer.models import SwinIR, SwinV2, VisionTransformer
from arcformer.tasks import FineImage, SuperRes
from arcformer.tasks.check import check_task
from arcformer.tasks.superres.losses import charbonnier, chi_square, excess, flux


def task(side: int = 16, **options) -> SuperRes:
    torch.manual_seed(0)
    return SuperRes(SwinIR(side, 1, dim=8, depths=(1,), heads=2, window=4), (), **options).eval()


def pairs(images: int = 6, side: int = 16, factor: int = 2, noise: float = 0.05) -> LensBatch:
    """Smooth random skies through a PSF, with noise."""
    torch.manual_seed(1)
    sky = torch.rand(images, 1, side * factor // 8, side * factor // 8)
    sky = torch.nn.functional.interpolate(sky, scale_factor=8, mode="bilinear") / factor**2
    psf = torch.tensor([1.0, 2.0, 1.0])
    psf = (psf[:, None] * psf / 16).expand(images, 3, 3)
    clean = observed(sky, psf, factor)
    noise_std = torch.full_like(clean, noise)
    return LensBatch(clean + noise * torch.randn_like(clean), high_res=sky, psf=psf, noise_std=noise_std)


@pytest.mark.parametrize(
    "options",
    [
        {"skip": "bilinear", "charbonnier": 0.0, "softness": 0.01},
        {"ssim": 0.0, "flux": 0.0, "consistency": 0.0, "width": 8},
    ],
)
def test_keeps_the_contract_with_every_option(options) -> None:
    check_task(SuperRes, **options)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("skip", ["bilinear", "bicubic"])
@pytest.mark.parametrize("backbone", [SwinIR, SwinV2, VisionTransformer])
def test_begins_with_the_interpolation(factor: int, skip, backbone) -> None:
    torch.manual_seed(0)
    batch = pairs(2, 20, factor)
    begun = SuperRes(backbone(20, 1), (), factor=factor, skip=skip).eval()
    begun.prepare([batch])
    with torch.no_grad():
        said = begun.predict(batch)
    torch.testing.assert_close(said.high_res, enlarged(batch.images, factor, skip))
    assert batch.high_res is not None
    missed = (said.high_res - batch.high_res).square().mean().sqrt()
    torch.testing.assert_close(said.std, missed.expand_as(said.std), rtol=1e-4, atol=0)  # and with what that misses


def test_images_without_a_finer_one_or_of_another_factor_are_refused() -> None:
    batch = pairs()
    with pytest.raises(InputError, match=r"superres: these images come without finer ones; .*data.pairs"):
        task().loss(replace(batch, high_res=None))
    with pytest.raises(InputError, match="built for factor 4, and these pairs are of 16 x 16 and 32 x 32 pixels"):
        task(factor=4).loss(batch)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"factor": 3}, "factor is 3; it can be 2 or 4"),
        ({"flux": -1.0}, "none may be negative"),
        ({"charbonnier": 0.0, "ssim": 0.0, "flux": 0.0, "consistency": 0.0}, "one of the first four"),
        ({"uncertainty": 0.0}, "must be positive"),
    ],
)
def test_options_that_cannot_be_are_named(options, words) -> None:
    with pytest.raises(InputError, match=words):
        task(**options)


def test_the_true_sky_has_a_chi_square_of_one_and_a_wrong_one_more() -> None:
    batch = pairs(64)
    assert batch.high_res is not None
    true = chi_square(batch.high_res, batch, 2)
    assert float(true.mean()) == pytest.approx(1, abs=4 * (2 / (64 * 14**2)) ** 0.5)
    wrong = chi_square(1.2 * batch.high_res, batch, 2)
    assert bool((wrong > true).all())
    none, some = (excess(chi2, batch[:2]) for chi2 in (torch.tensor([0.5, 1.0]), torch.tensor([1.5, 9.0])))
    assert none.tolist() == [0, 0]
    torch.testing.assert_close(some, torch.tensor([1.5, 9.0]).log())
    assert bool(chi_square(batch.high_res, replace(batch, psf=None), 2).isnan().all())


def test_without_noise_all_that_is_off_is_too_much() -> None:
    batch = replace(pairs(noise=0.0), noise_std=None)
    assert batch.high_res is not None
    torch.testing.assert_close(chi_square(batch.high_res, batch, 2), torch.zeros(6), atol=1e-10, rtol=0)
    chi2 = chi_square(batch.high_res + 0.1, batch, 2)
    torch.testing.assert_close(excess(chi2, batch), torch.log1p(chi2))


def test_bad_pixels_count_in_no_term() -> None:
    batch = pairs(2)
    mask = torch.zeros_like(batch.images, dtype=torch.bool)
    mask[:, :, 3:5, 7] = True
    batch = replace(batch, mask=mask)
    assert batch.high_res is not None
    spoilt = batch.high_res + 50 * mask.repeat_interleave(2, 2).repeat_interleave(2, 3)
    made = task(consistency=0.0)
    parts, others = (made.loss(replace(batch, high_res=high_res)) for high_res in (batch.high_res, spoilt))
    for name in ("charbonnier", "flux", "uncertainty"):
        torch.testing.assert_close(parts[name], others[name])
    torch.testing.assert_close(
        chi_square(batch.high_res, replace(batch, images=batch.images + 50 * mask), 2),
        chi_square(batch.high_res, batch, 2),
    )


def test_terms_are_what_their_formulas_say() -> None:
    good = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    residual = torch.full((2, 1, 4, 4), 3.0)
    torch.testing.assert_close(charbonnier(residual, 1e-6, good), torch.tensor([3.0, 3.0]))
    torch.testing.assert_close(charbonnier(residual, 100.0, good), torch.tensor([0.045, 0.045]), rtol=1e-3, atol=0)
    torch.testing.assert_close(flux(1.1 * residual, residual, good), torch.tensor([0.1, 0.1]))


def test_the_uncertainty_does_not_move_the_image() -> None:
    made, batch = task(), pairs()
    made.loss(batch)["uncertainty"].backward()
    gradient = made.head.last.weight.grad
    assert gradient is not None
    images, widths = gradient.split(4)  # of four finer pixels each
    assert not images.any()
    assert widths.any()


@pytest.mark.parametrize("wrong", [0.2, 1.0, 7.0])
def test_calibration_undoes_a_wrong_width(wrong: float) -> None:
    made, batch = task(), pairs(40)
    assert batch.high_res is not None
    torch.manual_seed(2)
    width = torch.rand_like(batch.high_res) + 0.5
    said = FineImage(batch.high_res + width * torch.randn_like(width), wrong * width)
    made.calibrate([said], [batch])
    assert float(made.spread) == pytest.approx(1 / wrong, rel=0.02)
    made.calibrate([FineImage(said.high_res, said.std * made.spread)], [batch])  # as it then predicts
    assert float(made.spread) == pytest.approx(1 / wrong, rel=0.02)

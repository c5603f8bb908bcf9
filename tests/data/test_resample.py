"""Flux, centre, noise, mask and PSF through a change of the pixel grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arcformer.batch import LensBatch
from arcformer.data.files import find_images, read_image
from arcformer.data.resample import resample
from arcformer.data.window import Window
from arcformer.errors import InputError


def blob(side, scale, y=0.0, x=0.0, width=0.2):
    """A Gaussian of unit flux at (y, x) arcsec from the middle, integrated over (side, side) pixels of ``scale``."""
    edges = (torch.arange(side + 1) - side / 2) * scale
    rows, columns = (torch.erf((edges - c) / width / 2**0.5).diff() / 2 for c in (y, x))
    return rows[:, None] * columns


def centroid(image, scale):
    """(y, x) in arcsec from the middle."""
    at = (torch.arange(len(image)) - (len(image) - 1) / 2) * scale
    return [(image.sum(1 - axis) * at).sum().item() / image.sum().item() for axis in (0, 1)]


def batch_of(image, scale=0.05, **more):
    return LensBatch(images=image[None, None].float(), pixel_scale=torch.tensor([scale]), **more)


def test_counts_are_summed_in_whole_blocks():
    image = torch.arange(150.0 * 150).reshape(150, 150)
    binned = resample(batch_of(image), 64, 0.1)
    expected = image[11:139, 11:139].reshape(64, 2, 64, 2).sum((1, 3))
    torch.testing.assert_close(binned.images[0, 0], expected)
    assert binned.pixel_scale.item() == pytest.approx(0.1)
    assert binned.mask is None


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(4, 40),
    width=st.integers(4, 40),
    ratio=st.floats(0.3, 4).filter(lambda r: abs(r - round(r)) > 2e-3),
    y=st.floats(-6, 6),
    x=st.floats(-6, 6),
)
def test_a_window_that_covers_the_image_keeps_every_count(height, width, ratio, y, x):
    planes = torch.rand(1, 2, height, width, dtype=torch.float64)
    size = (int((height + 14) / ratio) + 2, int((width + 14) / ratio) + 2)
    centre = torch.tensor([[(height - 1) / 2 + y, (width - 1) / 2 + x]])
    out = Window.about((height, width), size, ratio, centre).sum(planes)
    torch.testing.assert_close(out.sum((2, 3)), planes.sum((2, 3)))


@pytest.mark.parametrize(("side", "scale"), [(301, 0.03), (150, 0.05), (120, 0.0400019), (64, 0.101), (40, 0.2)])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.31, -0.22)])
def test_flux_and_place_of_a_lens_are_kept(side, scale, offset):
    out = resample(batch_of(blob(side, scale, *offset), scale), 60, 0.1)
    image = out.images[0, 0]
    assert image.sum().item() == pytest.approx(1, abs=0.002)
    assert centroid(image, 0.1) == pytest.approx(offset, abs=scale / 2 + 1e-4)
    if scale <= 0.1:
        assert (image - blob(60, 0.1, *centroid(image, 0.1))).abs().max() < 0.05 * image.max()


def test_a_crop_around_a_lens_that_is_not_in_the_middle():
    images = torch.stack([blob(100, 0.05, 1.0, -0.5), blob(100, 0.05, -0.8, 0.3)])[:, None]
    centre = torch.tensor([[49.5 + 20, 49.5 - 10], [49.5 - 16, 49.5 + 6]])
    batch = LensBatch(images=images, pixel_scale=torch.full((2,), 0.05))
    for scale in (0.05, 0.1, 0.07):
        out = resample(batch, 20, scale, centre)
        for image in out.images[:, 0]:
            assert centroid(image, scale) == pytest.approx((0, 0), abs=0.03)
    padded = resample(batch, 120, 0.05, centre)
    assert padded.mask.any()
    assert padded.images.sum((1, 2, 3)).tolist() == pytest.approx([1, 1], abs=0.01)


def test_a_crop_alone_smooths_nothing():
    image = torch.rand(31, 31)
    for side in (10, 11):
        start = (31 - side) // 2
        cropped = resample(batch_of(image), side).images[0, 0]
        torch.testing.assert_close(cropped, image[start : start + side, start : start + side], rtol=0, atol=0)


def test_padding_is_masked_and_its_noise_is_usable():
    noise = torch.full((1, 1, 10, 12), 0.5)
    mask = torch.zeros(1, 1, 10, 12, dtype=torch.bool)
    mask[0, 0, 3, 4] = True
    out = resample(batch_of(torch.ones(10, 12), noise_std=noise, mask=mask), 14)
    assert out.images.shape == (1, 1, 14, 14)
    assert (~out.mask).sum() == 119
    assert out.images[~out.mask].eq(1).all()
    assert (out.images[0, 0, 0] == 0).all()
    assert (out.noise_std == 0.5).all()


@settings(max_examples=20, deadline=None)
@given(ratio=st.sampled_from([1.5, 2.0, 2.37, 3.0]), seed=st.integers(0, 99))
def test_noise_is_what_many_noisy_images_scatter_by(ratio, seed):
    generator = torch.Generator().manual_seed(seed)
    sigma = 0.5 + torch.rand(1, 1, 20, 20, generator=generator)
    noisy = sigma * torch.randn(4000, 1, 20, 20, generator=generator)
    batch = LensBatch(images=noisy, noise_std=sigma.expand_as(noisy), pixel_scale=torch.full((4000,), 1.0))
    out = resample(batch, 5, ratio)
    np.testing.assert_allclose(out.images.std(0) / out.noise_std[0], 1, atol=0.07)


def test_masked_pixels_mask_all_that_they_reach():
    mask = torch.zeros(1, 1, 12, 12, dtype=torch.bool)
    mask[0, 0, 4, 6] = True
    batch = batch_of(torch.ones(12, 12), 0.05, mask=mask)
    assert resample(batch, None, 0.1).mask[0, 0].nonzero().tolist() == [[2, 3]]
    assert resample(batch, None, 0.075).mask[0, 0].nonzero().tolist() == [[2, 4], [3, 4]]


def test_high_res_and_clean_follow_the_images():
    fine = torch.rand(1, 1, 33, 33)
    low = torch.nn.functional.avg_pool2d(fine, 3) * 9
    batch = LensBatch(
        images=low,
        high_res=fine,
        pixel_scale=torch.tensor([0.05]),
        extras={"clean": low, "deflection": low, "mass": low[:, 0, 0, 0]},
    )
    for size, scale in ((6, None), (5, 0.1), (3, 0.16)):
        out = resample(batch, size, scale)
        assert out.high_res.shape[-1] == 3 * size
        rebinned = torch.nn.functional.avg_pool2d(out.high_res, 3) * 9
        within = 0.1 if scale == 0.16 else 1e-5  # where input pixels are divided, the finer image knows better how
        torch.testing.assert_close(rebinned, out.images, rtol=within, atol=0)
        torch.testing.assert_close(out.extras["clean"], out.images)
        assert set(out.extras) == {"clean", "mass"}


@pytest.mark.parametrize("scale", [0.05, 0.1, 0.07, 0.2])
def test_the_psf_comes_to_the_new_pixels_centred_and_of_unit_sum(scale):
    psf = blob(21, 0.05, width=0.12)[None]
    out = resample(batch_of(torch.ones(40, 40), psf=psf / psf.sum()), 8, scale)
    side = out.psf.shape[-1]
    assert side % 2 == 1
    assert out.psf.sum().item() == pytest.approx(1)
    assert centroid(out.psf[0], scale) == pytest.approx((0, 0), abs=1e-5)
    truth = blob(side, scale, width=0.12)
    torch.testing.assert_close(out.psf[0], truth, atol=0.05 * truth.max().item(), rtol=0)


def test_telescope_images_keep_their_flux(samples):
    paths, _ = find_images([samples / "lenses"])
    for path in paths:
        batch = read_image(path, pixel_scale=0.03 if "slacs" in path.name else None)
        side = round(batch.images.shape[-1] * batch.pixel_scale.item() / 0.1)
        for size in (None, side + 4):
            out = resample(batch, size, 0.1)
            share = out.images.sum() / batch.images.sum()
            assert share.item() == pytest.approx(1, abs=0.01), path.name
            assert out.psf.sum().item() == pytest.approx(1, abs=1e-4)


def test_pixel_scales_must_be_known_and_one():
    images = torch.ones(2, 1, 8, 8)
    for scales, message in (([0.05, torch.nan], "image 1: its pixel scale is unknown"), ([0.05, 0.06], "0.05 to 0.06")):
        with pytest.raises(InputError, match=message):
            resample(LensBatch(images=images, pixel_scale=torch.tensor(scales)), 4, 0.1)
    with pytest.raises(InputError, match=r"a\.fits: its pixel scale is unknown"):
        resample(LensBatch(images=images, ids=("a.fits", "b.fits")), 4, 0.1)
    assert resample(LensBatch(images=images), 4).images.shape == (2, 1, 4, 4)
    with pytest.raises(InputError, match="smaller than one pixel"):
        resample(batch_of(torch.ones(8, 8)), None, 1.0)

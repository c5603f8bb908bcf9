"""The scaling and its inverse, the numbers it is fitted with, and the file that keeps them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arcformer.batch import LensBatch
from arcformer.data.sky import sky_rms
from arcformer.data.transforms import Transform, TransformSection
from arcformer.errors import InputError

SCALINGS = ("asinh", "noise", "none", "minmax")


def lenses(count=4, seed=0, flux=1000.0, noise=20.0):
    """A ring in noise, in counts, with what may come with it."""
    generator = torch.Generator().manual_seed(seed)
    at = torch.arange(64) - 31.5
    ring = flux * torch.exp(-(((at[:, None] ** 2 + at**2).sqrt() - 9) ** 2) / 4)
    clean = ring.expand(count, 1, 64, 64) * (0.5 + torch.rand(count, 1, 1, 1, generator=generator))
    return LensBatch(
        images=clean + noise * torch.randn(count, 1, 64, 64, generator=generator),
        high_res=clean.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4,
        noise_std=torch.full_like(clean, noise),
        pixel_scale=torch.full((count,), 0.1),
        unit="counts",
        extras={"clean": clean},
    )


@settings(max_examples=40, deadline=None)
@given(
    scaling=st.sampled_from(SCALINGS),
    flux=st.floats(1e-3, 1e6),
    relative_noise=st.floats(1e-3, 1),
    seed=st.integers(0, 99),
    softening=st.none() | st.floats(0.1, 10),
)
def test_the_inverse_gives_everything_back(scaling, flux, relative_noise, seed, softening):
    noise = flux * relative_noise
    batch = lenses(seed=seed, flux=flux, noise=noise)
    if softening is not None:
        softening *= 1 if scaling == "noise" else noise
    transform = Transform(TransformSection(scaling=scaling, softening=softening)).fit([batch])
    back = transform.inverse(transform(batch))
    for name in ("images", "high_res", "noise_std"):
        before, after = getattr(batch, name), getattr(back, name)
        assert (after - before).abs().max() <= 1e-5 * before.abs().max(), name
    torch.testing.assert_close(back.extras["clean"], batch.extras["clean"], rtol=1e-4, atol=1e-4 * noise)
    assert back.extras.keys() == batch.extras.keys()
    assert back.unit == "counts"


def test_a_fit_centres_and_scales_the_training_pixels():
    batches = [lenses(seed=seed) for seed in range(3)]
    transform = Transform(TransformSection(size=48)).fit(batches)
    pixels = torch.cat([transform(batch).images for batch in batches])
    assert pixels.shape == (12, 1, 48, 48)
    assert pixels.mean().item() == pytest.approx(0, abs=1e-4)
    assert pixels.std().item() == pytest.approx(1, abs=1e-3)
    assert transform.softening == pytest.approx(20, rel=0.2)


def test_masked_pixels_are_not_fitted():
    batch = lenses()
    mask = torch.zeros_like(batch.images, dtype=torch.bool)
    mask[:, :, :4] = True
    spoilt = replace(batch, mask=mask, images=batch.images.masked_fill(mask, 1e9))
    blank = replace(batch, mask=mask, images=batch.images.masked_fill(mask, 0))
    for scaling in SCALINGS:
        fits = [Transform(TransformSection(scaling=scaling)).fit([b]) for b in (spoilt, blank)]
        assert fits[0] == fits[1]
        images = [fit(b).images[~mask] for fit, b in zip(fits, (spoilt, blank), strict=True)]
        torch.testing.assert_close(*images)


def test_a_given_softening_is_kept():
    assert Transform(TransformSection(softening=7.0)).fit([lenses()]).softening == 7


def test_noise_free_images_are_not_all_logarithm():
    batch = replace(lenses(noise=0.0), noise_std=None)
    transform = Transform(TransformSection()).fit([batch])
    assert transform.softening >= 0.999e-3 * batch.images.amax((1, 2, 3)).median().item()
    with pytest.raises(InputError, match="image 0 has no noise"):
        Transform(TransformSection(scaling="noise")).fit([replace(batch, images=0 * batch.images + 1)])
    with pytest.raises(InputError, match="neither noise nor light"):
        Transform(TransformSection()).fit([replace(batch, images=0 * batch.images)])


def test_noise_scaling_does_not_see_the_exposure():
    for stated in (True, False):
        batch = lenses() if stated else replace(lenses(), noise_std=None)
        transform = Transform(TransformSection(scaling="noise")).fit([batch])
        assert transform.softening == pytest.approx(1, rel=0.1)
        brighter = batch.map(lambda tensor: tensor * 50)
        torch.testing.assert_close(transform(brighter).images, transform(batch).images, rtol=1e-4, atol=1e-4)


def test_ranges_of_the_plain_scalings():
    batch = lenses()
    scaled = Transform(TransformSection(scaling="minmax"))(batch).images.flatten(1)
    assert scaled.amin(1).tolist() == [0] * 4
    assert scaled.amax(1).tolist() == pytest.approx([1] * 4)
    assert Transform(TransformSection(scaling="none"))(batch).images is not None
    torch.testing.assert_close(Transform(TransformSection(scaling="none"))(batch).images, batch.images)


def test_scaled_noise_is_the_scatter_of_scaled_images():
    batch = lenses(count=1)
    clean = batch.extras["clean"].expand(3000, 1, 64, 64)
    many = LensBatch(images=clean + torch.randn(clean.shape, generator=torch.Generator().manual_seed(1)))
    at_truth = LensBatch(images=clean[:1], noise_std=torch.ones_like(clean[:1]))
    transform = Transform(TransformSection(softening=20.0)).fit([batch])
    scatter = transform(many).images.std(0)
    torch.testing.assert_close(scatter, transform(at_truth).noise_std[0], rtol=0.1, atol=1e-4)


def test_the_file_is_readable_and_gives_the_same_transform(tmp_path):
    transform = Transform(TransformSection(size=48, pixel_scale=0.1)).fit([lenses()])
    transform.save(tmp_path / "transform.json")
    assert Transform.load(tmp_path / "transform.json") == transform
    assert json.loads((tmp_path / "transform.json").read_text())["section"]["size"] == 48
    (tmp_path / "words.json").write_text('{"section": {"sise": 3}}')
    for name in ("words.json", "missing.json"):
        with pytest.raises(InputError, match="holds no transform"):
            Transform.load(tmp_path / name)


def test_misuse_is_explained():
    with pytest.raises(InputError, match="has to be fitted"):
        Transform(TransformSection())(lenses())
    with pytest.raises(InputError, match="at least one batch"):
        Transform(TransformSection()).fit([])
    transform = Transform(TransformSection(scaling="minmax"))
    with pytest.raises(InputError, match="undone with extras"):
        transform.inverse(replace(transform(lenses()), extras={}))
    with pytest.raises(InputError, match="pixel scale is unknown"):
        Transform(TransformSection(pixel_scale=0.2, scaling="none"))(replace(lenses(), pixel_scale=None))


@pytest.mark.parametrize("sigma", [0.1, 30.0])
def test_the_noise_of_the_sky_is_measured_under_a_lens(sigma):
    batch = lenses(count=8, flux=20 * sigma, noise=sigma)
    assert sky_rms(batch.images).mean().item() == pytest.approx(sigma, rel=0.1)
    assert sky_rms(batch.images, torch.ones_like(batch.images, dtype=torch.bool)).isnan().all()

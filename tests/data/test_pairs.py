"""Pairs of two resolutions: what lies between them, on the fly, in files, under transforms and augmentation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from arcformer.batch import LensBatch
from arcformer.data.augment import dihedral
from arcformer.data.fixed import Beginning
from arcformer.data.pairs import binned, enlarged, factor_of, observed, summed
from arcformer.data.simulated import SimulatedBatches
from arcformer.data.transforms import Transform, TransformSection
from arcformer.errors import InputError
from arcformer.randomness import stream


def pair(images: int = 4, side: int = 12, factor: int = 2, channels: int = 1) -> LensBatch:
    """A random sky, seen through PSFs that are not round, no two alike, without noise."""
    torch.manual_seed(0)
    sky = torch.rand(images, channels, factor * side, factor * side)
    psf = torch.rand(images, 3, 5)
    psf = psf / psf.sum((1, 2), keepdim=True)
    return LensBatch(
        images=observed(sky, psf, factor),
        high_res=sky,
        psf=psf,
        noise_std=torch.ones(images, channels, side, side),
        pixel_scale=torch.full((images,), 0.1),
        ids=tuple(f"pair {i}" for i in range(images)),
        unit="counts",
    )


@pytest.mark.parametrize("finer", [2, 4])
def test_a_simulated_sky_is_observed_as_it_was_simulated(finer: int) -> None:
    source = SimulatedBatches(
        "deeplense/model-1", batch_size=3, seed=1, split="train", pixels=16, truth=True, finer=finer
    )
    batch = source.batch(0)
    assert factor_of(batch) == finer
    assert batch.high_res is not None
    assert batch.psf is not None
    clean = batch.extras["clean"]
    torch.testing.assert_close(observed(batch.high_res, batch.psf, finer), clean, rtol=1e-4, atol=1e-4 * clean.max())


def test_binned_pairs_are_the_images_and_their_sums() -> None:
    options = {"batch_size": 3, "seed": 1, "split": "train", "pixels": 30, "truth": True}
    plain, paired = (SimulatedBatches("deeplense/model-1", binned=b, **options).batch(0) for b in (None, 4))
    assert paired.high_res is not None
    assert paired.noise_std is not None
    assert plain.noise_std is not None
    assert torch.equal(paired.high_res, plain.images[..., :28, :28])
    blocks = F.avg_pool2d(plain.images[..., :28, :28], 4) * 16
    torch.testing.assert_close(paired.images, blocks)
    torch.testing.assert_close(paired.noise_std.square(), F.avg_pool2d(plain.noise_std[..., :28, :28] ** 2, 4) * 16)
    torch.testing.assert_close(paired.extras["clean"], F.avg_pool2d(plain.extras["clean"][..., :28, :28], 4) * 16)
    torch.testing.assert_close(paired.pixel_scale, torch.full((3,), 0.2))
    assert paired.psf is not None
    torch.testing.assert_close(observed(paired.high_res, paired.psf, 4), paired.images)
    assert paired.ids == plain.ids
    assert paired.targets is not None
    with pytest.raises(InputError, match="hold no block of 4 x 4"):
        binned(pair(side=3), 4)


def test_the_beginning_of_a_stream_of_pairs_is_of_pairs() -> None:
    endless = SimulatedBatches("deeplense/model-2", batch_size=6, seed=1, split="train", pixels=16, binned=2)
    assert factor_of(Beginning(endless, count=4).batch(0)) == 2


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("how", ["bilinear", "bicubic"])
def test_interpolation_keeps_the_flux_of_what_is_not_at_the_edge(factor: int, how) -> None:
    images = F.pad(torch.rand(2, 3, 7, 9), (3, 3, 3, 3))
    fine = enlarged(images, factor, how)
    assert fine.shape == (2, 3, factor * 13, factor * 15)
    torch.testing.assert_close(fine.sum((2, 3)), images.sum((2, 3)))
    flat = enlarged(torch.ones(1, 1, 5, 5), factor, how)
    torch.testing.assert_close(flat, torch.full_like(flat, 1 / factor**2))


def test_pairs_of_no_whole_ratio_have_no_factor() -> None:
    batch = pair()
    assert batch.high_res is not None
    assert factor_of(replace(batch, high_res=batch.high_res[..., :-2])) is None
    assert factor_of(replace(batch, high_res=None)) is None


@pytest.mark.parametrize("symmetries", ["half-turn", "dihedral"])
def test_a_pair_that_is_turned_is_still_a_pair(symmetries) -> None:
    """Sky and PSF turn with the image: observing commutes with all of it."""
    batch = replace(pair(16), psf=F.pad(pair(16).psf, (0, 0, 1, 1)))
    turned = dihedral(batch, stream(0, "turn"), symmetries)
    assert not torch.equal(turned.images, batch.images)
    assert turned.high_res is not None
    assert turned.psf is not None
    torch.testing.assert_close(observed(turned.high_res, turned.psf, 2), turned.images)


@pytest.mark.parametrize("section", [{"size": 8}, {"pixel_scale": 0.2}, {"size": 4, "pixel_scale": 0.3}])
def test_pairs_stay_pairs_on_another_grid_and_in_a_linear_range(section) -> None:
    sky, point = pair().high_res, torch.ones(4, 1, 1)
    assert sky is not None
    batch = replace(pair(), psf=point, images=observed(sky, point, 2))
    transform = Transform(TransformSection(scaling="linear", **section)).fit([batch])
    seen = transform(batch)
    assert factor_of(seen) == 2
    assert seen.high_res is not None
    assert seen.psf is not None
    torch.testing.assert_close(observed(seen.high_res, seen.psf, 2), seen.images)
    assert float(seen.images.square().mean()) == pytest.approx(1, rel=1e-4)
    back = transform.inverse(seen)
    assert back.high_res is not None
    torch.testing.assert_close(summed(back.high_res, 2), back.images)

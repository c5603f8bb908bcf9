"""The lens is found: in telescope images to where its light peaks, in simulated ones to where it was put."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arcformer.batch import LensBatch
from arcformer.data.centre import find_centre
from arcformer.data.files import find_images, read_image
from arcformer.data.resample import resample
from arcformer.sim.render import simulate

TELESCOPE = {  # y, x of the lens galaxy: Gaussian-weighted moments of its light, sigma 2 px, each seen in a picture
    "102018665_NEG570040238507752998.fits": (48.85, 49.16),
    "image_lens_system1_F390W.h5": (58.97, 59.38),
    "image_lens_system3_F475X.h5": (64.47, 62.84),
    "image_lens_system3_F600LP.h5": (65.72, 63.14),
    "image_lensed_quasar_F814W.h5": (61.94, 64.26),
    "slacs03_1_post.fits": (150.18, 150.15),  # the brighter of two galaxies
    "slacs03_2_post.fits": (150.07, 149.43),
    "slacs03_3_post.fits": (149.80, 150.37),
    "slacs03_4_post.fits": (149.95, 150.51),
    "slacs03_5_post.fits": (150.41, 150.08),
}
PRESETS = ("deeplense/model-1", "deeplense/model-2", "deeplense/model-3")


def shifted(batch: LensBatch, lens: torch.Tensor, by: torch.Tensor, side: int) -> tuple[LensBatch, torch.Tensor]:
    """A square cut about a point that lies ``by`` (B, 2) pixels from ``lens`` (B, 2); and where the lens is in it."""
    about = lens + by
    start = torch.ceil(about - side / 2 - 1e-3)  # a window begins at a whole pixel
    return resample(batch, side, None, about), lens - start


def scene(
    side: tuple[int, int] = (60, 64),
    at: tuple[float, float] = (31.0, 29.0),
    *,
    galaxy: float = 0.0,
    ring: float = 10.0,
    noise: float = 0.3,
    seed: int = 0,
) -> LensBatch:
    """A ring of radius 12 and a galaxy in it, of these peaks, in noise; the lens at ``at``."""
    y, x = torch.arange(side[0])[:, None] - at[0], torch.arange(side[1])[None] - at[1]
    r = torch.hypot(y, x)
    image = ring * torch.exp(-((r - 12) ** 2) / 8) + galaxy * torch.exp(-((y**2 + 1.4 * x**2) ** 0.5) / 1.5)
    return LensBatch((image + noise * torch.randn(side, generator=torch.Generator().manual_seed(seed)))[None, None])


def with_point(batch: LensBatch, y: int, x: int, peak: float) -> LensBatch:
    rows, columns = (torch.arange(side) for side in batch.images.shape[-2:])
    return replace(
        batch, images=batch.images + peak * torch.exp(-((rows[:, None] - y) ** 2 + (columns - x) ** 2) / 2 / 1.5**2)
    )


def test_lenses_of_telescopes_are_found_in_the_whole_image_and_in_cuts(samples):
    paths, _ = find_images([samples / "lenses"])
    assert {path.name for path in paths} == set(TELESCOPE)
    generator = torch.Generator().manual_seed(1)
    for path in paths:
        batch = read_image(path, pixel_scale=0.03 if "slacs" in path.name else None)
        scale, lens = batch.pixel_scale.item(), torch.tensor([TELESCOPE[path.name]])
        found = find_centre(batch)
        assert (found - lens).norm() * scale < 0.1, path.name
        for _ in range(3):
            by = (2 * torch.rand(1, 2, generator=generator) - 1) / scale  # up to 1.4 arcsec, and padded where needed
            cut, there = shifted(batch, lens, by, round(5 / scale))
            assert (find_centre(cut) - there).norm() * scale < 0.1, (path.name, by)


@pytest.mark.parametrize("preset", PRESETS)
def test_simulated_rings_stay_where_they_are_if_centred_and_are_found_if_not(preset, monkeypatch):
    monkeypatch.setenv("ARCFORMER_EAGER", "1")
    batch = simulate(preset, 96, seed=21, names=("centre", 0))
    scale, side = batch.pixel_scale[0].item(), batch.images.shape[-1]
    lens = torch.full((96, 2), (side - 1) / 2)
    moved = (find_centre(batch) - lens).norm(dim=1) * scale
    assert (moved == 0).float().mean() >= 0.93
    assert (moved < 0.3).float().mean() >= 0.98
    angle = 6.2832 * torch.rand(96, generator=torch.Generator().manual_seed(0))
    for distance in (0.5, 1.0):
        cut, there = shifted(batch, lens, torch.stack([angle.sin(), angle.cos()], 1) * distance / scale, side)
        error = (find_centre(cut) - there).norm(dim=1) * scale
        assert error.median() < 0.15
        assert (error < 0.3).float().mean() >= 0.95


@settings(max_examples=30, deadline=None)
# from 13 times the noise of a pixel on; at 10 it stands out from the inner side of the ring by less than is asked for
@given(y=st.floats(22, 38), x=st.floats(22, 42), galaxy=st.floats(4, 100), seed=st.integers(0, 99))
def test_a_lens_galaxy_is_found_to_a_fraction_of_a_pixel(y, x, galaxy, seed):
    found = find_centre(scene(at=(y, x), galaxy=galaxy, seed=seed))
    assert (found - torch.tensor([[y, x]])).norm() < 0.5


@settings(max_examples=20, deadline=None)
@given(galaxy=st.sampled_from([0.0, 5.0]), seed=st.integers(0, 99), flux=st.floats(1e-3, 1e4), sky=st.floats(-5, 5))
def test_neither_unit_nor_sky_nor_orientation_matters(galaxy, seed, flux, sky):
    batch = scene(at=(26.0, 37.0), galaxy=galaxy, seed=seed)
    (y, x), (height, width) = find_centre(batch)[0].tolist(), batch.images.shape[-2:]
    rescaled = find_centre(replace(batch, images=flux * (batch.images + sky)))
    assert rescaled[0].tolist() == pytest.approx([y, x], abs=0.02)
    half_turn = find_centre(batch.map(lambda planes: planes.flip(2, 3)))[0].tolist()
    assert half_turn == pytest.approx([height - 1 - y, width - 1 - x], abs=0.02)
    assert find_centre(batch.map(lambda planes: planes.mT))[0].tolist() == pytest.approx([x, y], abs=0.02)


def test_neighbours_do_not_mislead():
    lens = torch.tensor([[31.0, 29.0]])
    for galaxy in (5.0, 0.0):
        near = 0.5 if galaxy else 2.5
        batch = with_point(with_point(scene(galaxy=galaxy), 8, 50, 20.0), 52, 12, 10.0)
        assert (find_centre(batch) - lens).norm() < near
    assert (find_centre(with_point(scene(galaxy=10.0), 33, 35, 6.0)) - lens).norm() < 0.5  # a companion within the ring


def test_a_quad_is_centred_on_its_faint_galaxy():
    quad = scene(galaxy=8.0, ring=0.5)
    for y, x, peak in ((43, 27, 200.0), (36, 40, 150.0), (20, 32, 120.0), (30, 17, 80.0)):
        quad = with_point(quad, y, x, peak)
    assert (find_centre(quad) - torch.tensor([[31.0, 29.0]])).norm() < 1


def test_bad_pixels_are_looked_over():
    batch = scene(galaxy=5.0)
    spoilt = torch.zeros_like(batch.images, dtype=torch.bool)
    spoilt[..., 5:9, :] = True
    spoilt[..., 10:30, 50:56] = True
    spoilt[..., 31, 30] = True  # next to the galaxy's peak
    mended = find_centre(replace(batch, images=batch.images.masked_fill(spoilt, 1e6), mask=spoilt))
    assert (mended - find_centre(batch)).norm() < 0.5
    half = torch.zeros_like(spoilt)
    half[..., 48:] = True  # padding, from the ring's edge on
    assert (find_centre(replace(batch, images=batch.images.masked_fill(half, 0), mask=half)) - mended).norm() < 0.5


def test_an_image_does_not_depend_on_the_others_nor_on_its_channels():
    batches = [scene(galaxy=5.0), scene(at=(25.0, 35.0)), scene(at=(33.0, 30.0), noise=0.0), scene(ring=0.0, seed=5)]
    together = find_centre(LensBatch.collate(batches))
    assert together.shape == (4, 2)
    torch.testing.assert_close(together, torch.cat([find_centre(batch) for batch in batches]), rtol=0, atol=1e-3)
    coloured = replace(batches[0], images=batches[0].images * torch.tensor([0.2, 0.3, 0.5])[:, None, None])
    torch.testing.assert_close(find_centre(coloured), together[:1], rtol=0, atol=1e-3)


def test_where_nothing_is_seen_the_middle_stands():
    noise = torch.randn(40, 1, 64, 50, generator=torch.Generator().manual_seed(3))
    for images in (noise, torch.zeros(1, 1, 9, 14), torch.full((1, 2, 5, 7), 3.0), torch.rand(1, 1, 2, 2)):
        middle = torch.tensor([(side - 1) / 2 for side in images.shape[-2:]])
        torch.testing.assert_close(find_centre(LensBatch(images)), middle.expand(len(images), 2), rtol=0, atol=0)
    all_bad = LensBatch(torch.rand(1, 1, 20, 20), mask=torch.ones(1, 1, 20, 20, dtype=torch.bool))
    assert find_centre(all_bad).tolist() == [[9.5, 9.5]]

"""FITS files: planes by number, name and look; pixel scale, noise and PSF as they are meant."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from astropy.io import fits

from arcformer.data.fits import read_fits
from arcformer.data.image import BadFile
from arcformer.errors import InputError

SIDE = 41
RNG = np.random.default_rng(1)
SIGMA = RNG.uniform(0.08, 0.12, (SIDE, SIDE))
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE] - SIDE // 2
IMAGE = 3 * np.exp(-(ROWS**2 + COLUMNS**2) / 60) + SIGMA * RNG.normal(size=(SIDE, SIDE))
PSF = 0.002 * np.exp(-(ROWS**2 + (COLUMNS - 1) ** 2) / 4)
NOISE = {"rms": SIGMA, "variance": SIGMA**2, "weight": 1 / SIGMA**2}


def write(path, *planes, **header):
    """A FITS file with planes (name, pixels) after an empty primary one."""
    hdus = [fits.PrimaryHDU()]
    for name, pixels in planes:
        hdus.append(fits.ImageHDU(pixels.astype(np.float32), name=name or None))
        hdus[-1].header.update(header)
    fits.HDUList(hdus).writeto(path)
    return path


@pytest.mark.parametrize("meaning", NOISE)
def test_planes_without_names_are_known_by_their_look(tmp_path, meaning):
    batch = read_fits(write(tmp_path / "a.fits", ("", IMAGE), ("", NOISE[meaning]), ("", PSF)))
    torch.testing.assert_close(batch.images[0, 0], torch.tensor(IMAGE, dtype=torch.float32))
    torch.testing.assert_close(batch.noise_std[0, 0], torch.tensor(SIGMA, dtype=torch.float32))
    assert batch.psf.sum().item() == pytest.approx(1)
    side = batch.psf.shape[-1]
    assert side % 2 == 1
    assert side < SIDE
    assert batch.psf[0].argmax().item() == side**2 // 2
    assert batch.pixel_scale.isnan().all()
    assert batch.mask is None


def test_the_order_of_noise_and_psf_does_not_matter(tmp_path):
    batch = read_fits(write(tmp_path / "a.fits", ("", IMAGE), ("", PSF), ("", SIGMA)))
    torch.testing.assert_close(batch.noise_std[0, 0], torch.tensor(SIGMA, dtype=torch.float32))
    assert batch.psf is not None


def test_planes_are_taken_by_number_and_by_name(tmp_path):
    path = write(tmp_path / "a.fits", ("ERR", SIGMA), ("OLD", IMAGE - 1), ("NEW", IMAGE), ("PSF", PSF))
    for key in (3, "3", "NEW", "new"):
        batch = read_fits(path, science=key, noise="ERR", psf=4)
        torch.testing.assert_close(batch.images[0, 0], torch.tensor(IMAGE, dtype=torch.float32))
        torch.testing.assert_close(batch.noise_std[0, 0], torch.tensor(SIGMA, dtype=torch.float32))
    with pytest.raises(InputError, match="did you mean 'NEW'"):
        read_fits(path, science="NEWW")
    with pytest.raises(InputError, match="its images are 1 'ERR', 2 'OLD'"):
        read_fits(path, science=9)


def test_bands(tmp_path):
    planes = [
        ("NIR_H_BGSUB", IMAGE + 1),
        ("NIR_H_RMS", SIGMA * 2),
        ("VIS_BGSUB", IMAGE),
        ("VIS_PSF", PSF),
        ("VIS_RMS", SIGMA),
    ]
    path = write(tmp_path / "a.fits", *planes, MAGZERO=24.6, BUNIT="adu")
    visible, infrared = read_fits(path), read_fits(path, band="nir_h")
    torch.testing.assert_close(visible.images + 1, infrared.images)
    torch.testing.assert_close(visible.noise_std * 2, infrared.noise_std)
    assert visible.psf is not None
    assert infrared.psf is None
    assert visible.unit == "adu"
    assert visible.extras["zero_point"].item() == pytest.approx(24.6)
    with pytest.raises(InputError, match="did you mean 'NIR_H'"):
        read_fits(path, band="NIR_J")
    several = write(tmp_path / "b.fits", ("G_SCI", IMAGE), ("R_SCI", IMAGE))
    with pytest.raises(InputError, match="its bands are G, R"):
        read_fits(several)


def test_several_images_are_never_chosen_from_silently(tmp_path):
    twice = write(tmp_path / "a.fits", ("SCI", IMAGE), ("SCI", IMAGE))
    stamps = write(tmp_path / "b.fits", ("", IMAGE), ("", IMAGE[:20]), ("", IMAGE[:30]))
    for path in (twice, stamps):
        with pytest.raises(InputError, match="science=NUMBER"):
            read_fits(path)
        assert len(read_fits(path, science=2)) == 1


def test_bad_pixels_are_masked_and_nothing_else(tmp_path):
    image, sigma = IMAGE.copy(), SIGMA.copy()
    image[3, 4] = np.nan
    sigma[5, 6] = 1e16
    sigma[7, 8] = 0
    batch = read_fits(write(tmp_path / "a.fits", ("SCI", image), ("RMS", sigma)))
    assert batch.mask[0, 0].nonzero().tolist() == [[3, 4], [5, 6], [7, 8]]
    assert (batch.images[batch.mask] == 0).all()
    assert batch.noise_std.max() < 0.2


def test_an_exposure_map_is_not_taken_for_noise(tmp_path):
    path = write(tmp_path / "a.fits", ("SCI", IMAGE), ("WHT", np.full_like(IMAGE, 2200.0)))
    assert read_fits(path).noise_std is None
    with pytest.raises(InputError, match="disagrees with the scatter of the sky"):
        read_fits(path, noise="WHT")


def test_pixel_scale_from_wcs_keyword_or_caller(tmp_path):
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg"}
    cards |= {"CD1_1": -0.05 / 3600, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 0.05 / 3600}
    wcs = write(tmp_path / "a.fits", ("SCI", IMAGE), **cards)
    keyword = write(tmp_path / "b.fits", ("SCI", IMAGE), PIXSCALE=0.08)
    assert read_fits(wcs).pixel_scale.item() == pytest.approx(0.05, rel=1e-6)
    assert read_fits(keyword).pixel_scale.item() == pytest.approx(0.08)
    assert read_fits(wcs, pixel_scale=0.1).pixel_scale.item() == pytest.approx(0.1)


def test_faulty_files_are_named(tmp_path):
    whole = write(tmp_path / "whole.fits", ("SCI", IMAGE)).read_bytes()
    (tmp_path / "short.fits").write_bytes(whole[:7000])
    (tmp_path / "empty.fits").write_bytes(b"")
    (tmp_path / "words.fits").write_text("not an image")
    write(tmp_path / "none.fits")
    write(tmp_path / "nan.fits", ("SCI", np.full((9, 9), np.nan)))
    write(tmp_path / "mismatch.fits", ("SCI", IMAGE), ("RMS", SIGMA[:-1]))
    for name in ("short", "empty", "words", "none", "nan", "mismatch"):
        with pytest.raises(BadFile, match=rf"{name}\.fits: "):
            read_fits(tmp_path / f"{name}.fits")


def test_hubble_lenses(samples):
    for path in sorted((samples / "lenses" / "slacs_hst").glob("*.fits")):
        batch = read_fits(path)
        assert batch.images.shape == (1, 1, 301, 301)
        assert batch.psf.sum().item() == pytest.approx(1, abs=1e-5)
        assert batch.psf.shape[1] < 150
        assert 0.001 < batch.noise_std.median().item() < 0.02
        assert batch.pixel_scale.isnan().all()


def test_euclid_lens(samples):
    (path,) = (samples / "lenses" / "euclid_q1").glob("*.fits")
    batch = read_fits(path)
    assert batch.pixel_scale.item() == pytest.approx(0.1, rel=1e-4)
    assert batch.mask.sum().item() == 51
    assert batch.extras["zero_point"].item() == pytest.approx(24.6)
    assert batch.noise_std.max() < 1
    assert read_fits(path, band="NIR_Y").images.mean() > batch.images.mean()

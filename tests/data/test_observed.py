"""Presets with PSFs and galaxies from FITS files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from arcformer.data.image import BadFile
from arcformer.data.observed import observed, read_psf, read_stamps
from arcformer.errors import InputError
from arcformer.sim.behind import unlensed_images
from arcformer.sim.presets import PRESETS
from arcformer.sim.render import draw, simulate

HST = PRESETS.get("survey/hst")


def write(path: Path, pixels: np.ndarray, scale: float | None = 0.04) -> Path:
    path.parent.mkdir(exist_ok=True)
    header = fits.Header({"PIXSCALE": scale} if scale else {})
    fits.PrimaryHDU(pixels.astype(np.float32), header).writeto(path)
    return path


def blob(side: int, width: float) -> np.ndarray:
    axis = np.arange(side) - (side - 1) / 2
    return 7 * np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * width**2))


@pytest.fixture
def galaxies(tmp_path: Path) -> Path:
    folder = tmp_path / "galaxies"
    write(folder / "a.fits", blob(21, 2.0))
    write(folder / "b.fits", blob(31, 3.0))
    return folder


def test_stamps_are_framed_alike_and_have_a_flux_of_one(galaxies: Path) -> None:
    write(galaxies / "c.fits", blob(21, 2.0), scale=0.08)
    write(galaxies / "d.fits", -blob(21, 2.0))
    write(galaxies / "e.fits", blob(21, 2.0), scale=None)
    (galaxies / "f.fits").write_text("no image")
    pictures, scale, bad = read_stamps(galaxies)
    assert (pictures.shape, scale) == ((2, 31, 31), pytest.approx(0.04))
    torch.testing.assert_close(pictures.sum((1, 2)), torch.ones(2))
    assert pictures[0].argmax() == pictures[1].argmax() == 31 * 31 // 2
    for line, said in zip(bad, ("first stamp 0.04", "no light", "not say its pixel scale", "f.fits"), strict=True):
        assert said in line


def test_pictures_have_the_magnitude_that_was_drawn(galaxies: Path) -> None:
    preset = observed(HST, sources=galaxies, lenses=galaxies)
    parameters = draw(preset, torch.tensor([0, 1, 2, 0]), 3)
    images = unlensed_images(preset, parameters)
    torch.testing.assert_close(images.sum((1, 2, 3)), parameters["source_flux"], rtol=0.03, atol=0)
    batch = simulate(preset, 12, seed=1, truth=True, compiled=False)
    flux = batch.extras["clean"].sum((1, 2, 3)).double()
    assert (flux > batch.extras["light_flux"][:, 0]).all()  # of the lens, and of what it lenses
    assert len(batch.extras["light_stamp"].unique()) == len(batch.extras["source_stamp"].unique()) == 2


def test_a_psf_and_a_set_of_them(tmp_path: Path) -> None:
    one = blob(5, 1.0) / blob(5, 1.0).sum()
    assert torch.equal(
        observed(HST, psf=write(tmp_path / "one.fits", one)).instrument.psf.kernel(0.08),
        torch.tensor(one[None], dtype=torch.float32),
    )
    several = read_psf(write(tmp_path / "set.fits", np.stack([one, one, one])), 0.08)
    assert set(several.draw(30, torch.Generator().manual_seed(0))["psf_index"].tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (blob(4, 1.0) / blob(4, 1.0).sum(), "a square of odd size"),
        (blob(5, 1.0), "divide it by its sum"),
        (np.full((5, 5), np.nan), "sums to nan"),
        (np.ones(5) / 5, "a square of odd size"),
    ],
)
def test_a_psf_that_cannot_be_used(tmp_path: Path, pixels: np.ndarray, said: str) -> None:
    with pytest.raises(BadFile, match=said) as error:
        read_psf(write(tmp_path / "psf.fits", pixels), 0.08)
    assert "psf.fits: " in str(error.value)


def test_what_cannot_be_observed(tmp_path: Path, galaxies: Path) -> None:
    (tmp_path / "text.fits").write_text("no image")
    (tmp_path / "empty").mkdir()
    for said, options in {
        "no PSF can be read": {"psf": tmp_path / "text.fits"},
        "no-such.fits": {"psf": tmp_path / "no-such.fits"},
        "no such folder of stamps": {"sources": tmp_path / "nowhere"},
        "no stamp of a galaxy": {"lenses": tmp_path / "empty"},
    }.items():
        with pytest.raises(BadFile, match=said):
            observed(HST, **options)
    with pytest.raises(InputError, match="pictures need a magnitude"):
        observed(PRESETS.get("corrected/model-1"), sources=galaxies)
    with pytest.raises(InputError, match="no light of the lens"):
        observed(PRESETS.get("corrected/model-2"), lenses=galaxies)

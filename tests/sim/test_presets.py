"""What every preset keeps: one drawing path for all classes, images and noise as stated, pairs that fit together."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from arcformer.errors import InputError
from arcformer.sim.instrument import PhotonNoise, PixelPSF
from arcformer.sim.presets import PRESETS
from arcformer.sim.render import draw, simulate


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCFORMER_EAGER", "1")


def substructure(name: str) -> bool:
    """Whether a parameter belongs to the substructure, by its name."""
    kinds = ("point", "subhalo", "line", "vortex", "axion", "f_sub", "half_mode")
    return name.startswith(kinds)


@pytest.mark.parametrize("name", list(PRESETS))
def test_nothing_but_the_substructure_knows_the_class(name: str) -> None:
    preset = PRESETS.get(name)
    count = 6
    draws = [draw(preset, torch.full((count,), k), 7) for k in range(len(preset.classes))]
    for other in draws[1:]:
        for key, values in draws[0].items():
            published_fault = preset.lens_of and key in ("gamma1", "theta_E")
            if not substructure(key) and not published_fault:
                assert torch.equal(values, other[key]), key


@pytest.mark.parametrize("name", list(PRESETS))
def test_images_are_what_the_preset_says(name: str) -> None:
    preset = PRESETS.get(name)
    batch = simulate(name, 6, seed=2, truth=True)
    channels = preset.instrument.copies * (3 if name == "corrected/model-4" else 1)
    assert batch.images.shape == (6, channels, preset.pixels, preset.pixels)
    assert batch.images.isfinite().all()
    assert batch.images.dtype == torch.float32
    assert batch.classes == preset.classes
    assert batch.target_names == preset.targets
    assert batch.unit == preset.unit
    again = simulate(name, 6, seed=2)
    assert torch.equal(batch.images, again.images)
    assert not torch.equal(batch.images, simulate(name, 6, seed=3).images)


@pytest.mark.parametrize("name", [n for n in PRESETS if isinstance(PRESETS.get(n).instrument.noise, PhotonNoise)])
def test_the_noise_is_as_stated(name: str) -> None:
    batch = simulate(name, 6, seed=4, truth=True)
    pull = (batch.images - batch.extras["clean"]) / batch.noise_std
    assert float(pull.square().mean()) == pytest.approx(1, abs=0.02)
    assert float(pull.mean()) == pytest.approx(0, abs=0.02)
    assert (batch.images < 0).any()  # nothing is clipped
    bright = batch.extras["clean"] > batch.extras["clean"].flatten(1).quantile(0.98, dim=1)[:, None, None, None]
    assert float(pull[bright].square().mean()) == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("finer", [2, 4])
@pytest.mark.parametrize("name", ["deeplense/model-2", "corrected/model-4", "survey/lsst"])
def test_a_pair_is_joined_by_its_psf_and_binning(name: str, finer: int) -> None:
    batch = simulate(name, 3, seed=5, truth=True, finer=finer)
    kernel = batch.psf[0]
    reach = len(kernel) // 2
    fine = batch.high_res.flatten(0, 1)[:, None]
    seen = F.conv2d(F.pad(fine, (reach,) * 4, mode="replicate"), kernel[None, None])
    binned = F.avg_pool2d(seen, finer) * finer**2
    assert torch.allclose(binned.view_as(batch.images), batch.extras["clean"], atol=2e-6 * float(binned.max()))


def test_presets_that_cannot_be_drawn_are_refused() -> None:
    preset = PRESETS.get("survey/hst")
    with pytest.raises(InputError, match="0 < z_lens < z_source"):
        replace(preset.geometry, z_source=0.1)
    with pytest.raises(InputError, match="either halo_mass or theta_E"):
        replace(preset.lens, theta_E=None)
    with pytest.raises(InputError, match="expected a square of odd size"):
        PixelPSF(torch.ones(4, 4) / 16, 0.1)
    with pytest.raises(InputError, match="sums to 9"):
        PixelPSF(torch.ones(3, 3), 0.1)
    with pytest.raises(InputError, match="zero point"):
        simulate(replace(preset, instrument=replace(preset.instrument, zero_point=None)), 3, seed=0)


def test_an_empirical_psf_takes_the_place_of_a_gaussian() -> None:
    preset = PRESETS.get("deeplense/model-1")
    gaussian = preset.instrument.psf
    empirical = PixelPSF(gaussian.kernel(0.05), 0.05)
    images = torch.rand(2, 40, 40, dtype=torch.float64)
    expected, found = (psf.convolve(images, 0.05) for psf in (gaussian, empirical))
    assert torch.allclose(expected, found, atol=1e-6)
    with pytest.raises(InputError, match=r"pixels of 0\.05 arcsec, not on those of 0\.1"):
        empirical.convolve(images, 0.1)


def test_of_a_set_of_psfs_every_image_has_its_own() -> None:
    preset = PRESETS.get("corrected/model-4")  # three bands
    sharp, blunt = torch.zeros(5, 5), torch.full((5, 5), 0.04)
    sharp[2, 2] = 1
    several = replace(preset.instrument, psf=PixelPSF(torch.stack([sharp, blunt]), preset.pixel_scale))
    batch = simulate(replace(preset, instrument=several), 12, seed=1, pixels=16, truth=True, compiled=False)
    alone = simulate(
        replace(preset, instrument=replace(several, psf=PixelPSF(blunt, preset.pixel_scale))),
        12, seed=1, pixels=16, truth=True, compiled=False,
    )  # fmt: skip
    seen_blunt = batch.extras["psf_index"] == 1
    assert 0 < seen_blunt.sum() < 12
    same = (batch.extras["clean"] - alone.extras["clean"]).abs().amax((1, 2, 3)) < 1e-6
    assert torch.equal(same, seen_blunt)
    assert torch.equal(batch.psf[seen_blunt], alone.psf[seen_blunt])

"""Instruments of the surveys against lenstronomy's observation configurations, and lights against its profiles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lenstronomy.SimulationAPI.observation_api import SingleBand
from lenstronomy.SimulationAPI.ObservationConfig.Euclid import Euclid
from lenstronomy.SimulationAPI.ObservationConfig.HST import HST
from lenstronomy.SimulationAPI.ObservationConfig.JWST import JWST
from lenstronomy.SimulationAPI.ObservationConfig.LSST import LSST

from arcformer.batch import LensBatch
from arcformer.data.centre import find_centre
from arcformer.data.files import read_image
from arcformer.data.resample import resample
from arcformer.data.sky import sky_rms
from arcformer.sim.instrument import PhotonNoise, pixel_grid
from arcformer.sim.presets import PRESETS
from arcformer.sim.priors import Fixed
from arcformer.sim.render import simulate

CONFIGURATIONS = {
    "survey/hst": HST(band="WFC3_F160W", psf_type="GAUSSIAN"),
    "survey/euclid-vis": Euclid(band="VIS"),
    "survey/jwst": JWST(band="F200W"),
    "survey/lsst": LSST(band="i", coadd_years=10),
}


@pytest.mark.parametrize("name", list(CONFIGURATIONS))
def test_noise_and_counts_are_lenstronomys(name: str) -> None:
    instrument = PRESETS.get(name).instrument
    given = CONFIGURATIONS[name].kwargs_single_band()
    seeing = given.get("seeing") or instrument.psf.fwhm  # where lenstronomy has none
    band = SingleBand(**given | {"seeing": seeing, "psf_type": "GAUSSIAN"}, data_count_unit="e-")
    assert instrument.pixel_scale == band.pixel_scale
    assert instrument.zero_point == given["magnitude_zero_point"]
    assert instrument.psf.fwhm == seeing
    assert instrument.noise.background_rms == pytest.approx(band.background_noise, rel=1e-6)
    noise = instrument.noise
    time = noise.exposure.value if noise.background_at is None else noise.background_at
    assert time == pytest.approx(band.exposure_time)


def test_the_background_of_a_shorter_exposure_is_that_of_fewer_photons() -> None:
    noise = PhotonNoise(Fixed(100.0), 0.02, per_second=True, background_at=400.0)
    dark = torch.zeros(2, 1, 100, 100)
    exposure = {"exposure": torch.tensor([100.0, 400.0])}
    seen, std = noise.observe(dark, exposure, torch.Generator().manual_seed(0)), noise.std(dark, exposure)
    assert std[:, 0, 0, 0].tolist() == pytest.approx([0.04, 0.02])
    assert seen.flatten(1).std(1).tolist() == pytest.approx([0.04, 0.02], rel=0.03)


def test_real_hubble_lenses_lie_among_those_of_the_preset(samples: Path) -> None:
    """Noise, brightness and size on the preset's pixels; nothing is tuned to what is known of single lenses."""
    preset = PRESETS.get("survey/hst")
    drawn = [simulate(preset, 40, seed=0, names=("prior", k), compiled=False) for k in range(2)]
    drawn = LensBatch.collate([replace(batch, extras={}) for batch in drawn])
    ends = {name: values.quantile(torch.tensor([0.0, 1.0])) for name, values in brightness(drawn).items()}
    files = sorted((samples / "lenses" / "slacs_hst").glob("*.fits"))
    assert len(files) == 5
    for file in files:
        image = read_image(file, pixel_scale=0.03)
        found = brightness(resample(image, preset.pixels, preset.pixel_scale, find_centre(image)))
        for name, (low, high) in ends.items():
            assert low <= float(found[name]) <= high, (file.name, name)


def brightness(batch: LensBatch) -> dict[str, torch.Tensor]:
    """Noise of the sky, flux of the lens and its share within half an arcsec, (B,) each."""
    x, y = pixel_grid(batch.images.shape[-1], 0.08, torch.float32, torch.device("cpu"))
    within = {radius: (batch.images[:, 0] * (torch.hypot(x, y) < radius)).sum((1, 2)) for radius in (0.5, 2.5)}
    noise = sky_rms(batch.images, batch.mask).mean(1)
    return {"noise": noise.log(), "flux": within[2.5].log(), "share": within[0.5] / within[2.5]}

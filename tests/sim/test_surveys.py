"""Instruments of the surveys against lenstronomy's observation configurations, and lights against its profiles."""

from __future__ import annotations

import pytest
from lenstronomy.SimulationAPI.observation_api import SingleBand
from lenstronomy.SimulationAPI.ObservationConfig.Euclid import Euclid
from lenstronomy.SimulationAPI.ObservationConfig.HST import HST
from lenstronomy.SimulationAPI.ObservationConfig.JWST import JWST
from lenstronomy.SimulationAPI.ObservationConfig.LSST import LSST

from arcformer.sim.presets import PRESETS

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
    assert instrument.noise.exposure.value == pytest.approx(band.exposure_time)

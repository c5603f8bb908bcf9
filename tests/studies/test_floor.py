"""The floor of the axion's mass: against Monte Carlo on a curve that is known, and on a preset."""

from __future__ import annotations

import numpy as np
import pytest

from arcformer.errors import InputError
from arcformer.sim.presets import PRESETS
from arcformer.studies.floor import QUANTILES, _expected_errors, mass_floor


def test_the_expected_error_is_that_of_the_best_estimate_of_a_signal_that_grows() -> None:
    """A signal 3 L^2 in units of the noise, of which sigma of log10 L follows; the posterior by brute force."""
    grid = -1.5 + 2 * QUANTILES
    signal = 3 * 10 ** (2 * grid)
    found = _expected_errors(grid, 1 / (2 * np.log(10) * signal))
    rng = np.random.default_rng(0)
    truth = rng.integers(len(grid), size=4000)
    seen = signal[truth] + rng.normal(size=4000)
    posterior = np.exp(-0.5 * (seen[:, None] - signal) ** 2).cumsum(1)
    median = (posterior >= posterior[:, -1:] / 2).argmax(1)
    assert found.mean() == pytest.approx(np.abs(grid[median] - grid[truth]).mean(), abs=0.02)


def test_what_is_measured_well_has_the_error_of_a_gaussian_and_what_is_not_that_of_the_prior() -> None:
    grid = 2 * QUANTILES
    well, badly = (_expected_errors(grid, np.full(len(grid), sigma)) for sigma in (0.1, 100.0))
    assert well[80:120].mean() == pytest.approx(0.1 * np.sqrt(2 / np.pi), rel=0.05)
    assert badly.mean() == pytest.approx(0.5, rel=0.02)


def test_presets_without_noise_or_without_vortices_have_no_floor() -> None:
    with pytest.raises(InputError, match="without noise"):
        mass_floor(PRESETS.get("deeplense/model-2"))
    with pytest.raises(InputError, match="no class with vortices"):
        mass_floor(PRESETS.get("deeplense/binary"))


@pytest.mark.slow
def test_long_vortices_of_the_benchmark_are_measured_and_short_ones_are_not() -> None:
    """As an estimate of others has it: sigma .12 dex at 0.4 arcsec, .22 at 0.3, .41 at 0.225, above 1 below 0.13."""
    floor = mass_floor(PRESETS.get("deeplense/model-1"), lenses=1, vortices=2, lengths=8)
    for length, sigma in ((0.4, 0.12), (0.3, 0.22), (0.225, 0.41)):
        assert np.interp(length, floor.half_length, floor.sigma) == pytest.approx(sigma, rel=0.3)
    assert np.interp(0.12, floor.half_length, floor.sigma) > 1
    assert 0.1 < floor.mae < 0.25

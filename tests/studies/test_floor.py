"""The floor of the axion's mass: on signals of which the error is known, and on a preset."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from arcformer.errors import InputError
from arcformer.sim.presets import PRESETS
from arcformer.studies.floor import expected_errors, mass_floor

GRID = np.linspace(-1, 1, 41)


def errors(signal: np.ndarray, directions: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Of a signal (L,) in any of some directions that do not overlap."""
    changes = torch.eye(directions, dtype=torch.float64)[:, None] * torch.from_numpy(signal)[:, None]
    return expected_errors(changes, GRID, torch.Generator().manual_seed(0))


def test_what_is_measured_well_has_the_error_of_a_gaussian() -> None:
    sigma, error = errors(GRID / 0.1)
    assert sigma == pytest.approx(0.1)
    assert error[10:-10].mean() == pytest.approx(0.1 * np.sqrt(2 / np.pi), rel=0.2)
    sigma, error = errors(GRID / 0.01)  # finer than the grid
    assert error == pytest.approx(0.01 * np.sqrt(2 / np.pi))


def test_what_is_not_measured_has_the_error_of_the_prior() -> None:
    assert errors(GRID / 1000)[1].mean() == pytest.approx(0.5, rel=0.1)


def test_a_signal_that_grows_is_seen_to_be_small_where_it_is() -> None:
    """The posterior of a signal 10^(2 x), by brute force."""
    signal = 10 ** (2 * GRID)
    _, error = errors(signal)
    rng = np.random.default_rng(0)
    truth = rng.integers(len(GRID), size=4000)
    fit = -0.5 * (signal[truth, None] + rng.normal(size=(4000, 1)) - signal) ** 2
    posterior = np.exp(fit).cumsum(1)
    median = (posterior >= posterior[:, -1:] / 2).argmax(1)
    assert error.mean() == pytest.approx(np.abs(GRID[median] - GRID[truth]).mean(), abs=0.04)
    assert error.mean() < 0.4


def test_an_unknown_direction_costs() -> None:
    signal = 3 * 10**GRID / 10
    assert errors(signal, directions=30)[1].mean() > 1.1 * errors(signal)[1].mean()


def test_presets_without_noise_or_without_vortices_have_no_floor() -> None:
    with pytest.raises(InputError, match="without noise"):
        mass_floor(PRESETS.get("deeplense/model-2"))
    with pytest.raises(InputError, match="no class with vortices"):
        mass_floor(PRESETS.get("deeplense/binary"))


@pytest.mark.slow
def test_long_vortices_of_the_benchmark_are_measured_and_short_ones_are_not(monkeypatch) -> None:
    """Fisher's sigma, as another estimate has it: .12 dex at 0.4 arcsec, .22 at 0.3, .41 at 0.225."""
    monkeypatch.setenv("ARCFORMER_EAGER", "1")
    floor = mass_floor(PRESETS.get("deeplense/model-1"), lenses=1, vortices=3, lengths=20)
    for length, sigma in ((0.4, 0.12), (0.3, 0.22), (0.225, 0.41)):
        assert np.interp(length, floor.half_length, floor.sigma) == pytest.approx(sigma, rel=0.35)
    assert np.interp(0.12, floor.half_length, floor.sigma) > 1
    assert 0.1 < floor.mae < 0.3

"""Numbers of posteriors, held to what is known: exact posteriors, biased ones, and scikit-learn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from arcformer.metrics import Estimate, flatness, ranks, tarp
from arcformer.studies.regression.measures import PERCENT, bands, errors, held, likelihood, relative_errors

IMAGES, SAMPLES = 2000, 199
NAMES = ["a", "b"]


def posteriors(honest: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth (N, 2), and mean and samples of the exact Gaussian posterior, made wider and shifted, in its widths."""
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(IMAGES, 2))
    mean = (truth + 0.7 * rng.normal(size=truth.shape)) / (1 + 0.7**2)
    width = 0.7 / math.sqrt(1 + 0.7**2)
    mean = mean + shift * width
    return truth, mean, mean[:, None] + honest * width * rng.normal(size=(IMAGES, SAMPLES, 2))


def test_errors_are_those_of_scikit_learn() -> None:
    truth, mean, samples = posteriors(shift=0.3)
    found = errors(mean, np.median(samples, 1), samples.std(1), truth, NAMES, 0)
    for k, name in enumerate(NAMES):
        y, p = truth[:, k], mean[:, k]
        assert found[f"mae_{name}"].value == pytest.approx(mean_absolute_error(y, p))
        assert found[f"rmse_{name}"].value == pytest.approx(root_mean_squared_error(y, p))
        assert found[f"r2_{name}"].value == pytest.approx(r2_score(y, p))
        assert found[f"bias_{name}"].value == pytest.approx((p - y).mean())
        assert found[f"scatter_{name}"].value == pytest.approx((p - y).std())
    assert all(found[name].low < found[name].value < found[name].high for name in found)


def test_relative_errors_are_medians_of_what_is_positive_and_no_logarithm() -> None:
    rng = np.random.default_rng(3)
    truth = np.column_stack([rng.uniform(0.5, 2, 301), rng.normal(size=301), rng.uniform(8, 10, 301)])
    mean = truth * rng.normal(1, 0.1, (301, 3))
    found = relative_errors(mean, truth, ["theta_E", "e1", "log10_halo_mass"], seed=0)
    assert found.keys() == {"relative_error_theta_E"}
    one = found["relative_error_theta_E"]
    assert one.value == pytest.approx(np.median(np.abs(mean[:, 0] - truth[:, 0]) / truth[:, 0]))
    assert one.low < one.value < one.high


def test_a_target_that_never_varies_has_no_r2() -> None:
    found = errors(*[np.ones((5, 1))] * 4, ["a"], 0)
    assert math.isnan(found["r2_a"].value)


def judged(samples: np.ndarray, truth: np.ndarray) -> dict[str, Estimate]:
    """What is said of whether posteriors hold."""
    found = ranks(samples, truth)
    told = held(found, SAMPLES, flatness(found, SAMPLES), NAMES)
    return told | likelihood(np.zeros(IMAGES), tarp(samples, truth), 0)


def test_exact_posteriors_hold_what_they_say_and_their_ranks_are_flat() -> None:
    truth, _, samples = posteriors()
    found = judged(samples, truth)
    for name in NAMES:
        assert found[f"sbc_p_{name}"].value > 0.01
        for percent, level in PERCENT.items():
            share = found[f"coverage_{percent}_{name}"]
            assert share.low - 0.005 < level < share.high + 0.005
    assert found["tarp_p"].value > 0.01
    assert found["tarp_deviation"].value < 0.04


@pytest.mark.parametrize(("honest", "shift"), [(0.6, 0.0), (1.6, 0.0), (1.0, 0.4)])
def test_wrong_posteriors_are_found_out(honest: float, shift: float) -> None:
    truth, _, samples = posteriors(honest, shift)
    found = judged(samples, truth)
    assert found["sbc_p_a"].value < 1e-6
    if honest != 1:  # to TARP with random points, a shift alone may look the same from both sides
        assert found["tarp_p"].value < 0.01
        expected = 2 * stats.norm.cdf(honest * stats.norm.ppf(0.84)) - 1
        assert found["coverage_68_a"].value == pytest.approx(expected, abs=0.03)


def test_bins_hold_every_image_once_and_find_a_slope() -> None:
    rng = np.random.default_rng(0)
    along = rng.uniform(2, 4, 800)
    rows = bands(0.1 * (along - 3) + 0.01 * rng.normal(size=800), np.full(800, 0.2), along, 0)
    assert [row["images"] for row in rows] == [100] * 8
    assert all(first["high"] < second["low"] for first, second in itertools.pairwise(rows))
    for row in rows:
        assert row["bias"].value == pytest.approx(0.1 * (row["middle"] - 3), abs=0.01)
        assert row["width"].value == pytest.approx(0.2)

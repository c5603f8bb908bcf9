"""Intervals against theory, and the properties that make them intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from arcformer.metrics import bootstrap, from_rows, mean, wilson


def mean_of(x):
    return lambda weights: {"mean": weights @ x / weights.sum(1)}


def test_bootstrap_of_a_mean_is_the_textbook_interval():
    x = np.random.default_rng(1).normal(size=500)
    found = bootstrap(mean_of(x), len(x), resamples=4000)["mean"]
    error = 1.96 * x.std(ddof=1) / np.sqrt(len(x))
    assert found.value == pytest.approx(x.mean())
    assert found.low == pytest.approx(x.mean() - error, abs=0.1 * error)
    assert found.high == pytest.approx(x.mean() + error, abs=0.1 * error)


def test_bootstrap_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    samples = rng.exponential(size=(300, 100))
    intervals = [bootstrap(mean_of(x), 100, resamples=300)["mean"] for x in samples]
    covered = sum(i.low <= 1 <= i.high for i in intervals)
    assert 0.88 <= covered / 300 <= 0.98


def test_bootstrap_corrects_the_bias_of_resampling():
    """|mean| of noise is biased upwards by resampling; without correction the interval would exclude small values."""
    x = np.random.default_rng(0).normal(size=1000)
    x -= x.mean() - 0.001
    found = bootstrap(lambda w: {"m": np.abs(w @ x / w.sum(1))}, len(x))["m"]
    assert found.low <= found.value <= found.high
    assert found.low < 0.005


def test_rows_and_weights_give_the_same_interval():
    x = np.random.default_rng(3).normal(size=60)
    weighted = bootstrap(mean_of(x), 60, seed=5, resamples=200)["mean"]
    rows = bootstrap(from_rows(np.mean, x, name="mean"), 60, seed=5, resamples=200)["mean"]
    assert rows.low == pytest.approx(weighted.low)
    assert rows.high == pytest.approx(weighted.high)


def test_the_same_seed_gives_the_same_interval_whatever_is_measured_beside(monkeypatch):
    x = np.random.default_rng(4).normal(size=50)
    alone = bootstrap(mean_of(x), 50, seed=1, resamples=100)["mean"]
    assert alone != bootstrap(mean_of(x), 50, seed=2, resamples=100)["mean"]
    beside = bootstrap(lambda w: mean_of(x)(w) | {"other": w @ x**2}, 50, seed=1, resamples=100)
    assert beside["mean"] == alone
    monkeypatch.setattr("arcformer.metrics.intervals._CHUNK", 333)
    chunked = bootstrap(mean_of(x), 50, seed=1, resamples=100)["mean"]
    assert (chunked.low, chunked.high) == pytest.approx((alone.low, alone.high))


def test_resamples_without_a_value_are_left_out():
    x = np.array([np.nan, 1.0])  # 0 * NaN is NaN: a value exists only where a metric says so
    found = bootstrap(lambda w: {"m": np.where(w[:, 0] > 1, np.nan, w @ np.array([0.0, 1.0]))}, len(x))["m"]
    assert np.isfinite([found.low, found.high]).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 500), st.data())
def test_wilson_solves_its_equation(trials, data):
    """At both ends the observed share is 1.96 standard errors of that end away (Wilson 1927)."""
    successes = data.draw(st.integers(0, trials))
    found = wilson(successes, trials)
    z = stats.norm.ppf(0.975)
    for end in (found.low, found.high):
        gap = abs(found.value - end)
        assert gap == pytest.approx(z * np.sqrt(end * (1 - end) / trials), abs=1e-7)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_wilson_without_trials_knows_nothing():
    found = wilson(0, 0)
    assert np.isnan(found.value)
    assert (found.low, found.high) == (0, 1)


def test_the_mean_of_a_few_values_has_the_interval_of_the_t_test():
    values = [0.91, 0.94, 0.93]
    found, expected = mean(values), stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.value == pytest.approx(np.mean(values))
    near_one = mean([0.99, 0.999, 0.98], within=(0, 1))
    assert (near_one.value, near_one.high) == (pytest.approx(np.mean([0.99, 0.999, 0.98])), 1.0)
    assert mean([0.5]).value == 0.5
    assert np.isnan(mean([0.5]).low)
    assert np.isnan(mean([]).value)


def test_of_several_runs_the_scatter_between_them_counts():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(8, 300))

    def run(row):
        return lambda weights: {"mean": weights @ row / weights.sum(1)}

    alone = bootstrap(run(values[0]), 300)["mean"]
    assert bootstrap([run(values[0])] * 3, 300)["mean"] == alone
    apart = bootstrap([run(row + shift) for row, shift in zip(values, np.linspace(-2, 2, 8), strict=True)], 300)["mean"]
    assert apart.value == pytest.approx(values.mean())
    expected = np.linspace(-2, 2, 8).std() / np.sqrt(8)
    assert (apart.high - apart.low) / (2 * 1.96) == pytest.approx(expected, rel=0.25)

"""Detection: scikit-learn and SciPy as oracles, promises of p-values, and what does not depend on scales."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from arcformer.errors import InputError
from arcformer.metrics import clopper_pearson, detection_report, rank_correlation
from arcformer.metrics.detection import (
    adjusted,
    false_alarms,
    false_discoveries,
    score_at,
    spread_of_false_alarms,
    uniformity,
    weighted_detection,
)
from arcformer.tasks.anomaly import p_values


def conformal(calibration: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """As the task gives them."""
    known = torch.as_tensor(np.sort(calibration), dtype=torch.float64)
    return p_values(torch.as_tensor(scores, dtype=torch.float64), known).double().numpy()


RATES = (0.01, 0.05, 0.3)


def drawn(seed: int, normal: int = 60, anomalous: int = 40, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(size=normal), rng.normal(1, size=anomalous)])
    return np.round(scores, 1) if ties else scores, np.arange(normal + anomalous) >= normal


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_numbers_are_scikit_learns(seed, ties):
    scores, anomalous = drawn(seed, ties=ties)
    found = detection_report(scores, anomalous, rates=RATES)
    assert found["auroc"].value == pytest.approx(roc_auc_score(anomalous, scores))
    assert found["ap"].value == pytest.approx(average_precision_score(anomalous, scores))
    false, true, _ = roc_curve(anomalous, scores, drop_intermediate=False)
    for rate in RATES:
        assert found[f"recall_{100 * rate:g}"].value == pytest.approx(true[false <= rate].max())
        assert found[f"recall_{100 * rate:g}"].value == (scores[anomalous] > score_at(scores[~anomalous], rate)).mean()


def test_weights_are_repeated_images():
    scores, anomalous = drawn(3, ties=True)
    weights = np.random.default_rng(1).integers(0, 4, size=(5, len(scores))).astype(float)
    found = weighted_detection(scores, anomalous, RATES)(weights)
    for row, counts in enumerate(weights):
        rows = np.repeat(np.arange(len(scores)), counts.astype(int))
        alone = weighted_detection(scores[rows], anomalous[rows], RATES)(np.ones((1, len(rows))))
        for name, values in found.items():
            assert values[row] == pytest.approx(alone[name][0]), name


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    truth = stats.norm.cdf(1 / 2**0.5)  # AUC of two Gaussians one standard deviation apart
    held = [found.low <= truth <= found.high for k in range(60) for found in [detection_report(*drawn(k))["auroc"]]]
    assert np.mean(held) > 0.85


@given(st.lists(st.floats(-50, 50), min_size=4, max_size=40), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_only_the_order_of_scores_counts(values, seed):
    scores = np.round(values, 3)
    anomalous = np.random.default_rng(seed).random(len(scores)) < 0.5
    one = np.ones((1, len(scores)))
    found = weighted_detection(scores, anomalous, RATES)(one)
    bent = weighted_detection(np.arctan(scores / 10), anomalous, RATES)(one)
    for name, value in found.items():
        np.testing.assert_allclose(bent[name], value, err_msg=name)
    calibration = np.round(np.random.default_rng(seed).normal(0, 20, size=30), 3)
    np.testing.assert_array_equal(
        conformal(calibration, scores), conformal(np.arctan(calibration / 10), np.arctan(scores / 10))
    )


def test_conformal_p_values_are_uniform_and_their_false_alarms_scatter_as_told():
    rng = np.random.default_rng(5)
    alarms, p = [], []
    for _ in range(300):
        values = conformal(rng.normal(size=199), rng.normal(size=100))
        alarms.append((values <= 0.05).mean())
        p.append(uniformity(values, 199))
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.005)
    low, high = spread_of_false_alarms(0.05, 199, 100)
    assert np.mean([low <= share <= high for share in alarms]) > 0.93
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert uniformity(conformal(rng.normal(size=199), rng.normal(1, size=100)), 199) < 1e-6


def test_uniformity_is_scipys_test_of_two_samples():
    rng = np.random.default_rng(0)
    calibration, scores = rng.normal(size=150), rng.normal(0.1, size=400)
    theirs = stats.ks_2samp(scores, calibration, method="asymp")
    assert uniformity(conformal(calibration, scores), 150) == pytest.approx(theirs.pvalue)
    p = rng.random(200)
    assert uniformity(p) == pytest.approx(stats.kstest(p, "uniform").pvalue)


def test_too_few_calibration_scores_never_raise_an_alarm():
    assert spread_of_false_alarms(0.01, 50, 1000) == (0.0, 0.0)
    assert conformal(np.arange(50.0), np.array([99.0])).min() > 0.01


@given(st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_benjamini_and_hochberg_hold_their_rate(seed):
    rng = np.random.default_rng(seed)
    calibration, normal, odd = rng.normal(size=2000), rng.normal(size=4000), rng.normal(6, size=400)
    rate, power = false_discoveries(
        conformal(calibration, normal), conformal(calibration, odd), 0.1, catalogues=20, resamples=20, seed=seed % 1000
    )
    assert rate.low < 0.13  # of one calibration set, which may be off
    assert power.value > 0.95
    assert rate.low <= rate.value <= rate.high


def test_adjusted_p_values_decide_as_the_procedure_does():
    p = np.random.default_rng(2).random(50) ** 3
    ordered = np.sort(p)
    below = np.flatnonzero(ordered <= 0.1 * np.arange(1, 51) / 50)
    cut = ordered[below.max()] if len(below) else -1
    np.testing.assert_array_equal(adjusted(p) <= 0.1, p <= cut)


def test_of_nothing_anomalous_no_discovery_rate_is_known():
    rate, power = false_discoveries([0.2, 0.4], [], 0.1)
    assert np.isnan(rate.value)
    assert np.isnan(power.value)


def test_rare_events_have_exact_intervals():
    found = clopper_pearson(3, 20)
    assert found.low == pytest.approx(stats.beta.ppf(0.025, 3, 18))
    assert found.high == pytest.approx(stats.beta.ppf(0.975, 4, 17))
    assert false_alarms([0.005, 0.5, 0.01, 0.9], 0.01).value == 0.5


def test_rank_correlations_are_scipys_and_none_of_what_never_varies():
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    y = x + rng.normal(size=200)
    found = rank_correlation(x, y)
    assert found.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.low < found.value < found.high
    assert np.isnan(rank_correlation(x, np.ones(200)).value)
    assert rank_correlation(x, np.exp(x)).value == pytest.approx(1)


@pytest.mark.parametrize(
    ("scores", "anomalous", "said"),
    [
        ([], [], "do not fit"),
        ([1.0, 2.0], [True], "do not fit"),
        ([1.0, float("nan")], [True, False], "1 of 2 scores are not numbers"),
    ],
)
def test_what_is_no_result_is_refused(scores, anomalous, said):
    with pytest.raises(InputError, match=said):
        detection_report(scores, anomalous)


def test_p_values_are_probabilities():
    with pytest.raises(InputError, match="between 0 and 1"):
        adjusted([0.5, 2.0])
    with pytest.raises(InputError, match="at least one"):
        adjusted([])

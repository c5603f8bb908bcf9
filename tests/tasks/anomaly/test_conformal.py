"""p-values are uniform among normal images, and thresholds give the rates that they promise."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from arcformer.errors import InputError
from arcformer.models import VisionTransformer
from arcformer.tasks import Detect
from arcformer.tasks.anomaly import Scores, box_plot, p_values, threshold
from arcformer.tasks.anomaly.conformal import trimmed

scores = st.lists(st.integers(-5, 5), min_size=1, max_size=30).map(lambda drawn: torch.tensor(drawn).float())


def test_p_values_of_normal_images_are_uniform():
    drawn = torch.randn(8000, generator=torch.Generator().manual_seed(0)).exp()
    found = p_values(drawn[:4000], drawn[4000:].sort().values)
    assert kstest(found.numpy(), "uniform").pvalue > 0.01


@given(scores, scores)
def test_a_p_value_is_the_share_of_scores_as_high(found, calibration):
    calibration = calibration.sort().values
    expected = torch.stack([(1 + (calibration >= score).sum()).double() / (len(calibration) + 1) for score in found])
    torch.testing.assert_close(p_values(found, calibration), expected)


@given(scores, scores, st.floats(0.01, 0.99))
def test_what_is_above_the_threshold_has_a_p_value_below_the_rate(found, calibration, rate):
    calibration = calibration.sort().values
    if len(calibration) + 1 < 1 / rate:
        with pytest.raises(InputError):
            threshold(calibration, rate)
        return
    flagged = found > threshold(calibration, rate)
    assert torch.equal(flagged, p_values(found, calibration) <= rate)


@pytest.mark.parametrize(("count", "rate"), [(999, 0.001), (99, 0.05), (9, 0.1), (1999, 0.05)])
def test_a_p_value_that_is_the_rate_is_not_above_it(count, rate):
    calibration = torch.arange(float(count))
    found = torch.arange(float(count)) + 0.5
    flagged = found > threshold(calibration, rate)
    assert flagged.any()
    assert torch.equal(flagged, p_values(found, calibration) <= rate)


@pytest.mark.parametrize(("rate", "needed"), [(0.01, 99), (0.05, 19), (0.001, 999), (0.3, 3)])
def test_too_few_calibration_images_say_how_many_are_needed(rate, needed):
    threshold(torch.arange(float(needed)), rate)
    with pytest.raises(InputError, match=f"{needed - 1} calibration images.*: {needed} are needed"):
        threshold(torch.arange(float(needed - 1)), rate)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_a_rate_is_a_share(rate):
    with pytest.raises(InputError, match="between 0 and 1"):
        threshold(torch.arange(10.0), rate)


def test_the_box_plot_is_that_of_a_normal_distribution():
    drawn = torch.randn(100_000, generator=torch.Generator().manual_seed(1)).sort().values
    assert abs(box_plot(drawn) - 2.698) < 0.03


def test_contamination_takes_the_highest_scores_away():
    assert trimmed(torch.tensor([3.0, 1.0, 9.0, 2.0]), 0.25).tolist() == [True, True, False, True]
    assert trimmed(torch.tensor([3.0]), 0.4).tolist() == [True]
    task = Detect(VisionTransformer(16, 1, dim=16, depth=1, heads=2, patch=4), (), statistic="knn", contamination=0.2)
    drawn = torch.arange(10.0)
    task.calibrate([Scores(drawn, torch.zeros(10, 1, 1))], [])
    assert task.calibration.tolist() == list(range(8))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"contamination": 0.5}, "contamination"),
        ({"statistic": "knnn"}, "did you mean 'knn'"),
        ({"statistic": {"name": "knn", "k": 0}}, "at least 1"),
        ({"statistic": {"name": "reconstruction", "score": "chi"}}, "score"),
        ({"statistic": {"name": "reconstruction", "latent": -1}}, "latent"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(options, words):
    with pytest.raises(InputError, match=words):
        Detect(VisionTransformer(16, 1, dim=16, depth=1, heads=2, patch=4), (), **options)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from arcformer.metrics import Estimate, wilson
from arcformer.studies.comparison import auc_difference, difference


def scores(seed, skill, count=200):
    """Labels and the probabilities of two networks that err on the same images."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    common = rng.normal(size=(count, 3))
    logits = [s * np.eye(3)[labels] + common + 0.3 * rng.normal(size=(count, 3)) for s in (skill, 1.0)]
    first, second = (np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in logits)
    return labels, first, second


def test_the_difference_is_that_of_the_two_areas():
    labels, first, second = scores(0, 2.0)
    found = auc_difference(first, second, labels)
    expected = roc_auc_score(labels, first, multi_class="ovr") - roc_auc_score(labels, second, multi_class="ovr")
    assert found.value == pytest.approx(expected)
    assert 0 < found.low < found.value < found.high


def test_a_network_adds_nothing_to_itself():
    labels, first, _ = scores(0, 2.0)
    assert auc_difference(first, first, labels) == Estimate(0, 0, 0)


def test_a_difference_on_the_same_images_is_surer_than_on_different_ones():
    from arcformer.metrics import classification_report

    labels, first, second = scores(1, 1.3)
    paired = auc_difference(first, second, labels)
    apart = difference(*(classification_report(p, labels, ("a", "b", "c")).auc for p in (first, second)))
    assert paired.value == pytest.approx(apart.value)
    assert paired.high - paired.low < 0.8 * (apart.high - apart.low)


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090), ((10, 10), (0, 20), 0.6791, 1.0)],
)
def test_intervals_are_those_of_the_paper(first, second, low, high):
    """Newcombe 1998, table II, method 10."""
    found = difference(wilson(*first), wilson(*second))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


shares = st.tuples(st.integers(0, 50), st.integers(1, 50)).map(lambda t: wilson(min(t), max(t)))


@given(shares, shares)
def test_a_difference_holds_its_value_and_turns_its_sign(first, second):
    found, back = difference(first, second), difference(second, first)
    assert found.low <= found.value <= found.high
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))

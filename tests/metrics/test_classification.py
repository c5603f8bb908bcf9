"""The classification report against scikit-learn and torchmetrics."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn
from torchmetrics.functional.classification import multiclass_calibration_error

from arcformer.errors import InputError
from arcformer.metrics import NegativeLogLikelihood, classification_report
from arcformer.metrics.classification import BINS, weighted_auc

CLASSES = ("no_sub", "cdm", "axion")


def result(images=400, skill=1.5, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=images)
    logits = rng.normal(size=(images, 3)) + skill * np.eye(3)[labels]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return p, labels


def test_values_are_those_of_scikit_learn_and_torchmetrics():
    p, y = result()
    found = classification_report(p, y, CLASSES, resamples=50)
    assert found.auc.value == pytest.approx(sklearn.roc_auc_score(y, p, multi_class="ovr"))
    assert found.accuracy.value == pytest.approx(sklearn.accuracy_score(y, p.argmax(1)))
    assert found.nll.value == pytest.approx(sklearn.log_loss(y, p))
    ece = multiclass_calibration_error(torch.tensor(p), torch.tensor(y), 3, n_bins=BINS)
    assert found.ece.value == pytest.approx(float(ece), abs=1e-6)
    precision, recall, _, support = sklearn.precision_recall_fscore_support(y, p.argmax(1))
    for k, name in enumerate(CLASSES):
        one = found.classes[name]
        assert one.auc.value == pytest.approx(sklearn.roc_auc_score(y == k, p[:, k]))
        assert one.precision.value == pytest.approx(precision[k])
        assert one.recall.value == pytest.approx(recall[k])
        assert one.support == support[k]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_weighted_auc_is_scikit_learns_with_ties_and_weights(seed, levels):
    rng = np.random.default_rng(seed)
    scores = rng.integers(levels, size=30) / levels
    positive = np.arange(30) % 3 == 0
    weights = rng.integers(1, 4, size=(2, 30)).astype(float)
    expected = [sklearn.roc_auc_score(positive, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(weighted_auc(scores, positive, weights), expected)


def test_intervals_are_as_wide_as_theory_says():
    """Hanley and McNeil (1982, Radiology 143, 29) give the error of an AUC."""
    p, y = result(images=600)
    found = classification_report(p, y, CLASSES).classes["cdm"].auc
    auc, n1 = found.value, int((y == 1).sum())
    n0 = len(y) - n1
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    error = np.sqrt((auc * (1 - auc) + (n1 - 1) * (q1 - auc**2) + (n0 - 1) * (q2 - auc**2)) / (n0 * n1))
    assert (found.high - found.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.15)


def test_every_value_lies_in_its_interval_and_the_report_is_json():
    found = classification_report(*result(), CLASSES, resamples=200)
    estimates = [found.auc, found.accuracy, found.ece, found.nll]
    estimates += [e for one in found.classes.values() for e in (one.auc, one.precision, one.recall)]
    assert all(e.low <= e.value <= e.high for e in estimates)
    assert json.loads(json.dumps(dataclasses.asdict(found)))["auc"]["value"] == found.auc.value


def test_takes_tensors_and_two_classes():
    p, y = result()
    pair = torch.tensor(p[:, :2] / p[:, :2].sum(1, keepdims=True))[y < 2]
    found = classification_report(pair, torch.tensor(y)[y < 2], CLASSES[:2], resamples=20)
    assert found.auc.value == pytest.approx(sklearn.roc_auc_score(y[y < 2], pair[:, 1]))


def test_a_class_without_images_has_no_auc():
    p, y = result()
    found = classification_report(p[y != 2], y[y != 2], CLASSES, resamples=20)
    assert np.isnan(found.auc.value)
    assert np.isfinite(found.classes["cdm"].auc.value)
    assert np.isfinite(found.accuracy.value)


@pytest.mark.parametrize(
    ("p", "y", "words"),
    [
        (np.ones((4, 2)) / 2, np.zeros(4, int), r"expected \(N, 3\)"),
        (np.ones((4, 3)), np.zeros(4, int), "logits"),
        (np.ones((4, 3)) / 3, np.full(4, 3), "from 0 to 2"),
        (np.ones((0, 3)) / 3, np.zeros(0, int), "N > 0"),
    ],
)
def test_what_does_not_fit_is_refused(p, y, words):
    with pytest.raises(InputError, match=words):
        classification_report(p, y, CLASSES)


def test_likelihood_adds_up_over_batches():
    p, y = result()
    metric = NegativeLogLikelihood()
    for rows in (slice(0, 100), slice(100, 400)):
        metric.update(torch.tensor(p[rows]), torch.tensor(y[rows]))
    assert metric.compute().item() == pytest.approx(sklearn.log_loss(y, p), rel=1e-5)

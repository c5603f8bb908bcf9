from dataclasses import replace

import pytest

from arcformer.metrics import Estimate
from arcformer.studies.classification import sentences
from arcformer.studies.evaluate import evaluate
from arcformer.studies.sentences import with_interval


@pytest.fixture
def evaluation(run, rings):
    return evaluate(run, [rings(90, leak=0.1)], name="test", about="90 rings")


def with_accuracy(evaluation, *ends):
    return replace(evaluation, report=replace(evaluation.report, accuracy=Estimate(*ends)))


def test_numbers_carry_their_interval():
    assert with_interval(Estimate(0.93149, 0.92449, 0.9384)) == "0.931 [0.924, 0.938]"
    assert with_interval(Estimate(float("nan"), float("nan"), float("nan"))) == "not defined"
    assert with_interval(Estimate(0.5, float("nan"), float("nan"))) == "0.500"
    assert with_interval(Estimate(0.00123, 0.00118, 0.00131)) == "0.00123 [0.00118, 0.00131]"
    assert with_interval(Estimate(2.5e12, 2.4e12, 2.6e12)) == "2.500e+12 [2.400e+12, 2.600e+12]"


def test_the_summary_names_images_classes_and_numbers(evaluation):
    text = sentences.summary(evaluation)
    assert text.startswith("On 90 rings, the network tells no_sub, cdm and axion apart")
    for estimate in (evaluation.report.auc, evaluation.report.accuracy, evaluation.leaks.linear):
        assert with_interval(estimate) in text
    assert "too few" in sentences.summary(replace(evaluation, leaks=None, above_leaks=None))


@pytest.mark.parametrize(
    ("gain", "meaning"),
    [
        ((0.1, 0.05, 0.15), "adds +0.100 [+0.050, +0.150]"),
        ((0.0, -0.05, 0.05), "compatible with none"),
        ((-0.1, -0.15, -0.05), "stays below"),
    ],
)
def test_the_difference_to_the_leak_audit_is_read_by_its_interval(evaluation, gain, meaning):
    assert meaning in sentences.leaks(replace(evaluation, above_leaks=Estimate(*gain)))


@pytest.mark.parametrize(
    ("ends", "words"), [((0.80, 0.70, 0.88), "agree within"), ((0.5, 0.45, 0.55), "differ by more")]
)
def test_agreement_is_judged_by_the_interval_of_the_difference(evaluation, ends, words):
    first, second = with_accuracy(evaluation, 0.82, 0.80, 0.84), with_accuracy(evaluation, *ends)
    assert words in sentences.agreement(first, second)


@pytest.mark.parametrize(
    ("ends", "words"),
    [((0.2, 0.1, 0.3), "overconfident"), ((0.99, 0.98, 1), "underconfident"), ((0.6, 0, 1), "justified")],
)
def test_confidence_is_compared_with_accuracy(evaluation, ends, words):
    assert words in sentences.calibration(with_accuracy(evaluation, *ends))

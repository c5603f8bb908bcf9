"""What numbers say, in words: sentences that are generated from a result and cannot contradict it."""

from __future__ import annotations

import math

from arcformer.metrics import Estimate
from arcformer.studies.comparison import difference
from arcformer.studies.evaluate import Evaluation

__all__ = ["agreement", "calibration", "leaks", "summary", "with_interval"]


def with_interval(estimate: Estimate, digits: int = 3) -> str:
    """``0.931 [0.924, 0.938]``; ``not defined`` where the value is not a number."""
    if math.isnan(estimate.value):
        return "not defined"
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def summary(evaluation: Evaluation) -> str:
    """The result in one sentence: what was told apart, how well, and how much of it is more than trivial."""
    *most, last = evaluation.classes
    report = evaluation.report
    text = (
        f"On {evaluation.about}, the network tells {', '.join(most)} and {last} apart with a macro one-vs-rest AUC of "
        f"{with_interval(report.auc)} and an accuracy of {with_interval(report.accuracy)}"
    )
    if evaluation.leaks is None or evaluation.above_leaks is None:
        return f"{text}; there are too few images for a leak audit."
    return (
        f"{text}; trivial features reach an AUC of {with_interval(evaluation.leaks.linear)}, "
        f"a difference of {_signed(evaluation.above_leaks)}."
    )


def leaks(evaluation: Evaluation) -> str:
    """What the difference between the network and the leak audit means."""
    gain, found = evaluation.above_leaks, evaluation.leaks
    if gain is None or found is None:
        return "There is no leak audit: it needs at least two images of each class."
    if gain.low > 0:
        meaning = (
            f"The network adds {_signed(gain)} to the AUC of trivial features: at most this part of its result needs "
            "more than flux, radius, width and centroid of the ring. The rest may come from them alone."
        )
    elif gain.high < 0:
        meaning = (
            f"The network stays below trivial features ({_signed(gain)}): nothing in its result shows that it sees "
            "substructure."
        )
    else:
        meaning = (
            f"The difference between the network and trivial features ({_signed(gain)}) is compatible with none: "
            "nothing in its result shows that it sees substructure."
        )
    if found.linear.low > 0.5:
        return f"The classes differ in trivial features. {meaning}"
    return f"Trivial features do not tell the classes apart. {meaning}"


def agreement(first: Evaluation, second: Evaluation) -> str:
    """Whether ``second`` agrees with ``first``, by the difference of their accuracies and its interval."""
    found = difference(second.report.accuracy, first.report.accuracy)
    agrees = found.low <= 0 <= found.high
    return (
        f"Accuracy is {with_interval(second.report.accuracy)} on {second.about}, against "
        f"{with_interval(first.report.accuracy)} on {first.about}: a difference of {_signed(found)}. "
        + ("The two agree within their uncertainty." if agrees else "The two differ by more than their uncertainty.")
    )


def calibration(evaluation: Evaluation) -> str:
    """Whether the probabilities can be taken at their word."""
    confidence = float(evaluation.probabilities.max(1).mean())
    accuracy = evaluation.report.accuracy
    text = f"The network is on average {confidence:.3f} sure, and right in {with_interval(accuracy)} of the images"
    if accuracy.low <= confidence <= accuracy.high:
        return f"{text}: over all images, its confidence is justified."
    return f"{text}: it is {'over' if confidence > accuracy.high else 'under'}confident."


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"

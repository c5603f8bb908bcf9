"""What the numbers of a classification say, in words that are generated from them and cannot contradict them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arcformer.studies.comparison import difference
from arcformer.studies.sentences import signed, with_interval

if TYPE_CHECKING:
    from arcformer.studies.classification.evaluation import ClassEvaluation

__all__ = ["agreement", "calibration", "leaks", "summary"]


def summary(evaluation: ClassEvaluation) -> str:
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
        f"a difference of {signed(evaluation.above_leaks)}."
    )


def leaks(evaluation: ClassEvaluation) -> str:
    """What the difference between the network and the leak audit means."""
    gain, found = evaluation.above_leaks, evaluation.leaks
    if gain is None or found is None:
        return "There is no leak audit: it needs at least two images of each class."
    if gain.low > 0:
        meaning = (
            f"The network adds {signed(gain)} to the AUC of trivial features: at most this part of its result needs "
            "more than flux, radius, width and centroid of the ring. The rest may come from them alone."
        )
    elif gain.high < 0:
        meaning = (
            f"The network stays below trivial features ({signed(gain)}): nothing in its result shows that it sees "
            "substructure."
        )
    else:
        meaning = (
            f"The difference between the network and trivial features ({signed(gain)}) is compatible with none: "
            "nothing in its result shows that it sees substructure."
        )
    if found.linear.low > 0.5:
        return f"The classes differ in trivial features. {meaning}"
    return f"Trivial features do not tell the classes apart. {meaning}"


def agreement(first: ClassEvaluation, second: ClassEvaluation) -> str:
    """Whether ``second`` agrees with ``first``, by the difference of their accuracies and its interval."""
    found = difference(second.report.accuracy, first.report.accuracy)
    agrees = found.low <= 0 <= found.high
    return (
        f"Accuracy is {with_interval(second.report.accuracy)} on {second.about}, against "
        f"{with_interval(first.report.accuracy)} on {first.about}: a difference of {signed(found)}. "
        + ("The two agree within their uncertainty." if agrees else "The two differ by more than their uncertainty.")
    )


def calibration(evaluation: ClassEvaluation) -> str:
    """Whether the probabilities can be taken at their word."""
    confidence = float(evaluation.probabilities.max(1).mean())
    accuracy = evaluation.report.accuracy
    text = f"The network is on average {confidence:.3f} sure, and right in {with_interval(accuracy)} of the images"
    if accuracy.low <= confidence <= accuracy.high:
        return f"{text}: over all images, its confidence is justified."
    return f"{text}: it is {'over' if confidence > accuracy.high else 'under'}confident."

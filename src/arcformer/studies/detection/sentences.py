"""What the numbers of a detection say, in words that are generated from them and cannot contradict them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from arcformer.metrics.detection import percent, spread_of_false_alarms
from arcformer.studies.comparison import difference
from arcformer.studies.detection.measures import CATALOGUE, FDR, PROMISED, SHARE
from arcformer.studies.detection.trivial import METHODS
from arcformer.studies.sentences import listed, signed, with_interval
from arcformer.tasks.anomaly.conformal import needed

if TYPE_CHECKING:
    from arcformer.studies.detection.evaluation import DetectionEvaluation

__all__ = ["agreement", "leaks", "nuisances", "promises", "summary", "where"]

SIGNIFICANT = 0.01
"""p below which p-values are not uniform."""

WEAK = 0.1
"""Rank correlations below this are not worth a word."""


def summary(evaluation: DetectionEvaluation) -> str:
    """The result in a sentence or two: what was found, at which price, and how much of it is more than trivial."""
    found = evaluation.found
    others = [name for name in evaluation.classes if name not in evaluation.normal]
    if "auroc" not in found:
        told = [
            f"{with_interval(found[f'flagged_1_{name}'])} of {name}" for name in others if f"flagged_1_{name}" in found
        ]
        if told:
            return f"On {evaluation.about}, none of them normal, the run flags, at p below 1 %, {listed(told)}."
        return (
            f"On {evaluation.about}, all of them normal, the run flags {with_interval(found['false_alarms_1'])} at p "
            "below 1 %."
        )
    text = (
        f"On {evaluation.about}, the run tells {listed(others)} from {listed(evaluation.normal)}, of which alone it "
        f"was shown images, with an AUC of {with_interval(found['auroc'])}; at 1 % false alarms it finds "
        f"{with_interval(found['recall_1'])} of them, at 5 % {with_interval(found['recall_5'])}"
    )
    if evaluation.trivial is None:
        return f"{text}."
    trivial = [f"{with_interval(found[f'{name}_auroc'])} by their {words}" for name, words in METHODS.items()]
    return f"{text}; trivial features reach an AUC of {listed(trivial)}."


def leaks(evaluation: DetectionEvaluation) -> str:
    """What the difference between the run and the trivial statistics means."""
    if evaluation.trivial is None:
        return f"There is nothing to compare with: {evaluation.no_trivial}."
    if "auroc" not in evaluation.found:
        return "There is nothing to compare: the images are all normal, or none of them is."
    best = max(METHODS, key=lambda name: evaluation.found[f"{name}_auroc"].value)
    gain, words = evaluation.found[f"above_{best}_auroc"], METHODS[best]
    if gain.low > 0:
        return (
            f"The statistic adds {signed(gain)} to the AUC of the better of two trivial ones, the {words}: at most "
            "this part of its result needs more than flux, radius, width and centroid of the ring. The rest may come "
            "from them alone."
        )
    if gain.high < 0:
        return (
            f"The statistic stays below the {words} of trivial features ({signed(gain)}): nothing in its result shows "
            "that it sees substructure."
        )
    return (
        f"The difference between the statistic and the {words} of trivial features ({signed(gain)}) is compatible with "
        "none: nothing in its result shows that it sees substructure."
    )


def promises(evaluation: DetectionEvaluation) -> str:
    """Whether p-values and discoveries are what they claim to be."""
    found, images = evaluation.found, int((~evaluation.anomalous).sum())
    if "false_alarms_1" not in found:
        return "None of the images is normal, so that nothing can be said of false alarms."
    said = []
    for rate in PROMISED:
        share = found[f"false_alarms_{percent(rate)}"]
        text = f"{with_interval(share)} of the normal images have a p-value below {percent(rate)} %"
        if evaluation.calibration is not None:
            if evaluation.calibration < needed(rate):
                text += (
                    f", which says nothing: {evaluation.calibration:,} calibration scores cannot tell this rate, "
                    f"{needed(rate):,} could"
                )
            else:
                low, high = spread_of_false_alarms(rate, evaluation.calibration, images)
                inside = low <= share.value <= high
                text += f", {'as' if inside else 'and not as'} expected ({low:.4f} to {high:.4f})"
        said.append(text)
    p = found["uniform_p"].value
    text = f"{listed(said)}. Their p-values are {'uniform' if p > SIGNIFICANT else 'not uniform'} (p = {p:.2g})"
    if evaluation.calibration is not None:
        text += f", as far as {evaluation.calibration:,} calibration scores can say"
    name = f"fdr_{percent(FDR)}"
    if name in found and not math.isnan(found[name].value):
        held = "is held" if found[name].low <= FDR else "is not held"
        text += (
            f". In catalogues of {CATALOGUE:,} with {SHARE:.0%} anomalies, a false discovery rate of {FDR:.0%} {held}: "
            f"{with_interval(found[name])} of the discoveries are false, and {with_interval(found[f'{name}_found'])} "
            "of the anomalies are found"
        )
    return f"{text}."


def nuisances(evaluation: DetectionEvaluation) -> str:
    """What makes a normal image look more anomalous."""
    told = {
        name.removeprefix("spearman_"): value
        for name, value in evaluation.found.items()
        if name.startswith("spearman_") and not math.isnan(value.value)
    }
    if not told:
        return "Nothing is known of the normal images that the score could go with."
    strong = sorted(
        (n for n in told if abs(told[n].value) > WEAK and told[n].low * told[n].high > 0),
        key=lambda n: -abs(told[n].value),
    )
    if not strong:
        known = listed(list(told))
        return (
            f"Among normal images, the score goes with none of {known} (by rank, below {WEAK:g} or compatible with 0)."
        )
    parts = [f"{name} ({signed(told[name])})" for name in strong]
    return f"Among normal images, the score goes with {listed(parts)}, by rank: what varies there is taken for anomaly."


def where(evaluation: DetectionEvaluation) -> str:
    """Whether the map says where."""
    found = evaluation.found
    if "where_auroc" not in found:
        return "The run has no map, or nobody knows where the substructure of these images is."
    gain = found["where_above_chance"]
    text = (
        f"By the strength of its map, cells near the heaviest substructure are told from the others with an AUC of "
        f"{with_interval(found['where_auroc'])}; of the substructure of another image it is "
        f"{with_interval(found['where_auroc_by_chance'])}, a difference of {signed(gain)}"
    )
    if gain.low > 0:
        return f"{text}: the map says where."
    return f"{text}: nothing shows that the map says where."


def agreement(first: DetectionEvaluation, second: DetectionEvaluation) -> str:
    """Whether ``second`` agrees with ``first``, by their AUC, or else by their false alarms."""
    shared = [
        name for name in ("auroc", "false_alarms_5", "false_alarms_1") if name in first.found and name in second.found
    ]
    if not shared:
        return second.summary()
    name = shared[0]
    words = "The AUC" if name == "auroc" else f"The share of false alarms at {name.rpartition('_')[2]} %"
    one, other = first.found[name], second.found[name]
    gap = difference(other, one)
    agrees = gap.low <= 0 <= gap.high
    return (
        f"{words} is {with_interval(other)} on {second.about}, against {with_interval(one)} on {first.about}: a "
        f"difference of {signed(gap)}. "
        + ("The two agree within their uncertainty." if agrees else "The two differ by more than their uncertainty.")
    )

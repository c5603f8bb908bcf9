"""What the numbers of a regression say, in words that are generated from them and cannot contradict them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from arcformer.metrics import Estimate
from arcformer.sim.parameters import unit_of
from arcformer.studies.comparison import difference
from arcformer.studies.regression.measures import PERCENT
from arcformer.studies.sentences import listed, signed, with_interval

if TYPE_CHECKING:
    from arcformer.studies.regression.evaluation import PosteriorEvaluation

__all__ = ["agreement", "baseline", "calibration", "summary"]

SIGNIFICANT = 0.01
"""p below which ranks are not flat."""

TOLERATED = 0.03
"""By how much coverage may be off."""


def summary(evaluation: PosteriorEvaluation) -> str:
    """The result in a sentence or two: what was measured, how well, and how much of it needs a network."""
    found = evaluation.found
    parts = [
        f"{name} with a mean absolute error of {_measured(found[f'mae_{name}'], name)}" for name in evaluation.targets
    ]
    text = f"On {evaluation.about}, the network measures {listed(parts)}"
    if evaluation.baseline is not None:
        linear = [_measured(found[f"linear_mae_{name}"], name) for name in evaluation.targets]
        prior = [_measured(found[f"prior_mae_{name}"], name) for name in evaluation.targets]
        text += f"; a linear model on trivial features reaches {listed(linear)}, the prior alone {listed(prior)}"
    held = [with_interval(found[f"coverage_68_{name}"]) for name in evaluation.targets]
    return f"{text}. Its 68 % intervals hold the truth in a share of {listed(held)}."


def baseline(evaluation: PosteriorEvaluation) -> str:
    """What the difference between the network and the linear model means, target by target."""
    if evaluation.baseline is None:
        return f"There is nothing to compare with: {evaluation.no_baseline}."
    said = []
    for name in evaluation.targets:
        linear, boosted = (evaluation.found[f"below_{what}_mae_{name}"] for what in ("linear", "boosted"))
        gain, rival = (linear, "linear model") if linear.value < boosted.value else (boosted, "boosted trees")
        unit = f" {unit_of(name)}".rstrip()
        if gain.low > 0:
            said.append(
                f"For {name}, the network's error is {signed(gain)}{unit} below that of the better of two models of "
                f"trivial features, the {rival}: this part needs more than flux, radius and width of the ring."
            )
        elif gain.high < 0:
            said.append(
                f"For {name}, the network stays behind the {rival} on trivial features, {signed(gain)}{unit}: "
                "nothing in its result needs a network."
            )
        else:
            said.append(
                f"For {name}, the network and the {rival} on trivial features are alike ({signed(gain)}{unit}): "
                "nothing in its result shows that it sees more."
            )
    return " ".join(said)


def agreement(first: PosteriorEvaluation, second: PosteriorEvaluation) -> str:
    """Whether ``second`` agrees with ``first``, by the differences of their errors and of what their intervals hold."""
    said, differing = [], 0
    for name in second.targets:
        for what, key in (("mean absolute error", "mae"), ("share within 68 %", "coverage_68")):
            one, other = (evaluation.found[f"{key}_{name}"] for evaluation in (first, second))
            gap = difference(other, one)
            differing += not gap.low <= 0 <= gap.high
            said.append(f"the {what} of {name} is {with_interval(other)} against {with_interval(one)} ({signed(gap)})")
    text = f"On {second.about}, compared with {first.about}: {listed(said)}."
    if not differing:
        return f"{text} The two agree within their uncertainty."
    return (
        f"{text} In {differing} of {len(said)} numbers the two differ by more than their uncertainty; by chance they "
        f"would in {0.05 * len(said):g}."
    )


def calibration(evaluation: PosteriorEvaluation) -> str:
    """Whether the posteriors can be taken at their word."""
    said = []
    for name in evaluation.targets:
        shares = {percent: evaluation.found[f"coverage_{percent}_{name}"] for percent in PERCENT}
        off = {percent: share.value - PERCENT[percent] for percent, share in shares.items()}
        worst = max(off, key=lambda percent: abs(off[percent]))
        if all(share.low <= PERCENT[percent] <= share.high for percent, share in shares.items()):
            words = "intervals hold the truth as often as they say"
        elif abs(off[worst]) <= TOLERATED:
            words = f"intervals hold the truth within {abs(off[worst]):.3f} of as often as they say"
        else:
            kind = "too narrow" if off[worst] < 0 else "too wide"
            words = f"intervals are {kind}: that of {worst} % holds the truth in {with_interval(shares[worst])}"
        flat = evaluation.found[f"sbc_p_{name}"].value
        ranks = f"the ranks are {'flat' if flat > SIGNIFICANT else 'not flat'} (p = {flat:.2g})"
        said.append(f"{name}: {words}; {'of so few images no ranks are tested' if math.isnan(flat) else ranks}.")
    return " ".join(said)


def _measured(estimate: Estimate, name: str) -> str:
    return f"{with_interval(estimate)} {unit_of(name)}".rstrip()

"""By how much the runs of a study differ from those that they are compared with, on the same images, seed by seed.

What is hard in an image, or lucky in a set of labelled ones, is so for both runs of a pair and cancels in their
difference. The bootstrap draws images and seeds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from arcformer.disk import whole
from arcformer.errors import InputError
from arcformer.metrics import Estimate, bootstrap
from arcformer.metrics.intervals import WeightedMetrics
from arcformer.studies.evaluate import KINDS
from arcformer.studies.evaluation import Evaluation
from arcformer.studies.place import Outcome
from arcformer.studies.study import ContrastSection

__all__ = ["CONTRASTS", "Contrast", "contrasts", "write_contrasts"]

CONTRASTS = "contrasts.json"


@dataclass(frozen=True)
class Kept:
    """What was measured of every test image: as what, the arrays (N, ...), and by which the images are known again."""

    kind: type[Evaluation]
    of_each: dict[str, NDArray[Any]]
    images: str | None

    def __len__(self) -> int:
        return len(next(iter(self.of_each.values())))


@dataclass(frozen=True)
class Contrast:
    """Attributes:
    axes: what the runs are, by axis, but for the seed.
    against: the value on the axis of the contrast that they are compared with, one of those that were asked for.
    seeds: how many pairs of runs there are.
    differences: theirs minus those of the others, by metric, mean over seeds with the 95 % interval.
    """

    axes: dict[str, str]
    against: str
    seeds: int
    differences: dict[str, Estimate]

    @property
    def label(self) -> str:
        return ", ".join(self.axes.values())


def contrasts(asked: ContrastSection, outcomes: Sequence[Outcome], *, seed: int = 0) -> list[Contrast]:
    """Every cell of finished runs beside those that differ from it in ``asked.axis`` alone, over shared seeds.

    Those that others are compared with are not compared among themselves.

    Raises:
        InputError: the two were tested on other images.
    """
    tested = [one for one in outcomes if one.state == "done" and one.place.of_each and one.place.of_each.exists()]
    cells: dict[tuple[tuple[str, str], ...], dict[str, Outcome]] = {}
    for one in tested:
        cells.setdefault(_without_seed(one.planned.axes), {})[one.planned.axes.get("seed", "")] = one
    found = []
    for (key, runs), against in product(cells.items(), asked.against):
        axes = dict(key)
        others = cells.get(_without_seed(axes | {asked.axis: against}), {})
        shared = sorted(runs.keys() & others.keys())
        if axes[asked.axis] in asked.against or not shared:
            continue
        pairs = [(_kept(runs[s]), _kept(others[s])) for s in shared]
        if any(one.kind is not other.kind or one.of_each.keys() != other.of_each.keys() for one, other in pairs):
            continue  # other targets, or another task: no number is common to both
        differences = bootstrap([_difference(asked, *pair) for pair in pairs], len(pairs[0][0]), seed=seed)
        found.append(Contrast(axes, against, len(shared), differences))
    return found


def write_contrasts(found: Sequence[Contrast], out: Path) -> None:
    """Write ``contrasts.json``, flat rows: ``difference METRIC RUN minus OTHER``, with the ends of the interval."""
    rows = [
        {
            "name": f"difference {metric} {one.label} minus {one.against}, {one.seeds} seed{'s' * (one.seeds > 1)}",
            "unit": "",
            **asdict(estimate),
        }
        for one in found
        for metric, estimate in one.differences.items()
    ]
    with whole(out / CONTRASTS) as path:
        path.write_text(json.dumps(rows, indent=2) + "\n")


def _without_seed(axes: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, text) for name, text in axes.items() if name != "seed")


def _kept(outcome: Outcome) -> Kept:
    path = outcome.place.of_each
    assert path is not None
    with safe_open(path, "np") as file:
        about = file.metadata()
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, it is no mapping
    kind = next(kind.evaluation for kind in KINDS if kind.evaluation.__name__ == about["evaluation"])
    return Kept(kind, arrays, about.get("images"))


def _difference(asked: ContrastSection, first: Kept, second: Kept) -> WeightedMetrics:
    labels = [kept.of_each["labels"] for kept in (first, second) if "labels" in kept.of_each]
    alike = not labels or np.array_equal(labels[0], labels[-1])
    if first.images != second.images or len(first) != len(second) or not alike:
        raise InputError(f"contrast: runs that differ in {asked.axis} were not tested on the same images")
    ours, theirs = first.kind.weighed(first.of_each), second.kind.weighed(second.of_each)

    def metrics(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        a, b = ours(weights), theirs(weights)
        return {name: a[name] - b[name] for name in a}

    return metrics

"""What every evaluation is, whatever the task: numbers with intervals on a set of images, and how they are told.

A kind of result has a folder of its own beside this module: what it measures, its sentences, its figures and its part
of the report. ``evaluate.KINDS`` lists the kinds; which of them a task has is known by the fields of its prediction.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from numpy.typing import NDArray

from arcformer.batch import LensBatch
from arcformer.metrics import Estimate
from arcformer.metrics.intervals import WeightedMetrics

if TYPE_CHECKING:
    from arcformer.training import Run

__all__ = ["Evaluation", "Gathering", "as_json"]

PICTURED = 6
"""Images of each class that are kept for the report."""


@dataclass(frozen=True)
class Evaluation(ABC):
    """A run's result on a set of images.

    Attributes:
        name: short, as ``test`` or ``reference``; begins the names of its numbers.
        about: what the images are, in words: how many, from where, which seed.
        images: how many there are.
        ids: their names, or none.
        pictured: a few images of each class in physical units, the first of the set.
        seconds: for transform and prediction, without the time to read or simulate the images.
        seed: of the intervals and of whatever is fitted for comparison.
        part: the template of its part of the report, in this folder.
        columns: shell patterns of the numbers by which runs are compared on the terminal.
        important: shell patterns of those that the report prints in bold.
        ranges: between which ends a number lies, by a shell pattern of its name; the first that matches counts.
    """

    name: str
    about: str
    images: int
    ids: tuple[str, ...]
    pictured: LensBatch
    seconds: float
    seed: int

    part: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    important: ClassVar[tuple[str, ...]] = ()
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}

    def __len__(self) -> int:
        return self.images

    @property
    def images_per_second(self) -> float:
        return len(self) / max(self.seconds, 1e-9)

    @property
    @abstractmethod
    def estimates(self) -> dict[str, Estimate]:
        """Every number of the result, by name, each with its 95 % interval where it has one."""

    @property
    @abstractmethod
    def headlines(self) -> dict[str, str]:
        """In words, by name, the numbers at the top of the report."""

    @abstractmethod
    def summary(self) -> str:
        """The result in a sentence or two."""

    @abstractmethod
    def agreement(self, first: Self) -> str:
        """Whether it agrees with the ``first`` result of the same run, on other images."""

    @abstractmethod
    def drawn(self) -> dict[str, Any]:
        """What its part of the report shows beside its numbers, by name: figures as ``data:`` URIs, sentences."""

    @property
    @abstractmethod
    def of_each(self) -> dict[str, NDArray[Any]]:
        """What is kept of every image, (N, ...) each, so that runs can be compared on the same ones."""

    @classmethod
    @abstractmethod
    def weighed(cls, of_each: Mapping[str, NDArray[Any]]) -> WeightedMetrics:
        """The numbers by which runs are compared, as functions of weights of the images (``metrics.bootstrap``)."""

    def unit(self, name: str) -> str:
        """Of one of its numbers."""
        return ""

    @property
    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """What is no single number, as rows, by name: for JSON."""
        return {}

    def numbers(self) -> dict[str, dict[str, Any]]:
        """The estimates as JSON has them: ``value``, ``low``, ``high`` and, where there is one, ``unit``."""
        named = ((name, as_json(estimate), self.unit(name)) for name, estimate in self.estimates.items())
        return {name: ends | {"unit": unit} if unit else ends for name, ends, unit in named}

    def to_json(self) -> list[dict[str, Any]]:
        """The numbers as flat rows: name, value, unit, low, high."""
        rows = [{"name": f"{name} {self.name}", "unit": "", **number} for name, number in self.numbers().items()]
        speed = {"name": f"images_per_second {self.name}", "value": self.images_per_second, "unit": "images/s"}
        return [*rows, speed]


class Gathering(ABC):
    """Takes in predictions batch by batch and makes an ``Evaluation`` of them.

    Args:
        run: as ``arcformer.load`` gives it.
        name, seed: of the evaluation.

    Attributes:
        evaluation: what it makes.
        fields: of the prediction, tensors, that it needs: by them it is known whether it suits a task.
    """

    evaluation: ClassVar[type[Evaluation]]
    fields: ClassVar[tuple[str, ...]]

    def __init__(self, run: Run, name: str, seed: int):
        self.run, self.name, self.seed = run, name, seed

    @abstractmethod
    def check(self, batch: LensBatch) -> None:
        """See that the images have what the predictions are compared with; raises ``InputError``."""

    @abstractmethod
    def take(self, prediction: Any, batch: LensBatch, seen: LensBatch) -> None:
        """Take in what the run predicts for a batch in physical units; ``seen``: as the network saw it.

        What is kept has to be small: numbers of each image, never images.
        """

    @abstractmethod
    def conclude(self, **common: Any) -> Evaluation:
        """The evaluation; ``common`` is what all have, by name, as ``Evaluation`` says."""


def as_json(estimate: Estimate) -> dict[str, float | None]:
    """``value``, ``low`` and ``high`` as JSON has them: None where one is not a number."""
    return {name: None if math.isnan(end) else end for name, end in asdict(estimate).items()}

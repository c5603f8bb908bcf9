"""The plan of a study: the runs that follow from its file, in their order.

>>> study = read("runs/studies/backbones.toml")
>>> [planned.label for planned in plan(study)]
["ViT, seed 1", "ResNet-18, seed 1", ...]
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arcformer.config import Faults, Section, parse
from arcformer.errors import InputError, near
from arcformer.sim.presets import PRESETS
from arcformer.studies.axes import check_apart, combinations, spelled_out, written
from arcformer.studies.study import Study, TestSection, laid_over
from arcformer.training.build import check_trainable
from arcformer.training.recipe import RunConfig
from arcformer.training.start import check_alike, check_start

__all__ = ["Planned", "and_more", "begins_with", "digest", "plan"]

LONGEST = 60
"""Characters of a label that go into the name of a folder."""


@dataclass(frozen=True)
class Planned:
    """A run of a study.

    Attributes:
        label: what tells it from the other runs, in words.
        axes: its value on each axis of the study, as text.
        config: its configuration; where it begins with a run of the study, ``init`` is that one's name.
        start: the run of the study that it begins with.
        first: whether it is there for others to begin with, and is not tested.
    """

    label: str
    axes: dict[str, str]
    config: RunConfig
    start: Planned | None = None
    first: bool = False

    @property
    def folder(self) -> str:
        """The name of its folder: the label, and the digest of its configuration."""
        readable = re.sub(r"[^a-z0-9.]+", "-", self.label.lower())[:LONGEST].strip("-.")
        return f"{readable or 'run'}-{self.digest}"

    @property
    def digest(self) -> str:
        """By which it is known: that of its configuration, and so of what it begins with."""
        return digest(self._known)

    @property
    def cell(self) -> str:
        """What the runs that differ in nothing but their seed have in common."""
        return digest(self._known.model_copy(update={"seed": 0}))

    @property
    def starts(self) -> list[Planned]:
        """The runs of the study that have to be done before this one, the first one first."""
        return [] if self.start is None else [*self.start.starts, self.start]

    @property
    def _known(self) -> RunConfig:
        return self.config if self.start is None else begins_with(self.config, self.start.digest)


def plan(study: Study) -> list[Planned]:
    """The runs of a study, in the order of its file; of those with the same configuration only the first.

    First come those of ``before`` that others begin with.

    Raises:
        InputError: naming every fault of every run: unknown fields, two axes that set the same field, two values
            with the same label, a test on other classes than those of the run, an ``init`` that is nothing to begin
            with or has another backbone, corrections of low rank that cannot be made; a contrast with what is not
            there.
    """
    runs: dict[str, Planned] = {}
    faults: dict[str, list[str]] = {}
    names = list(dict.fromkeys(name for axes in (study.axes, *study.grid) for name in axes))
    before = _before(study, names, faults)
    if faults:  # with which the runs that begin with these would be faulty too
        raise Faults(_title(study), _lines(faults))
    for values in combinations(study):
        label = ", ".join(value.label for value in values) or "base"
        try:
            check_apart(values)
            tree = spelled_out(study.run)
            for value in sorted(values, key=lambda value: value.axis.count(".")):  # backbone, then backbone.size
                tree = laid_over(tree, value.sets)
            found = parse(RunConfig, tree, label)
            _check_run(found, study.test)
            start = _start(found, before)
        except InputError as error:
            _note(faults, error, label)
            continue
        given = {value.axis: value.text for value in values}
        axes = {name: given.get(name) or written(_at(found, name)) for name in names}
        one = Planned(label, axes, found, start)
        runs.setdefault(one.digest, one)
    if faults:
        raise Faults(_title(study), _lines(faults))
    _check_contrast(study, runs.values())
    needed: dict[str, Planned] = {}
    for one in runs.values():
        needed |= {earlier.digest: runs.get(earlier.digest, earlier) for earlier in one.starts}
    return list((needed | runs).values())


def _check_contrast(study: Study, runs: Iterable[Planned]) -> None:
    """See that a study can make its comparison.

    Raises:
        InputError: no test, an axis that it has not, or a value that is not on it.
    """
    asked = study.contrast
    if asked is None:
        return
    if study.test is None:
        raise InputError("contrast: runs are compared on test images, and the study has no [test]")
    if asked.axis == "seed":
        raise InputError("contrast.axis: seeds are what runs are compared over; name another axis")
    on_axis: dict[str, dict[str, None]] = {}
    for one in runs:
        for axis, text in one.axes.items():
            on_axis.setdefault(axis, {})[text] = None
    if asked.axis not in on_axis:
        raise InputError(f"contrast.axis: the study has no axis {asked.axis!r}; {near(asked.axis, on_axis)}")
    for value in asked.against:
        if value not in on_axis[asked.axis]:
            known = near(value, on_axis[asked.axis])
            raise InputError(f"contrast.against: no run has {asked.axis} {value!r}; {known}")


def begins_with(config: RunConfig, start: str) -> RunConfig:
    """A configuration as its digest is made: what it begins with is known by its own digest, wherever it lies."""
    return config.model_copy(update={"init": Path(start)})


def _before(study: Study, names: Sequence[str], faults: dict[str, list[str]]) -> dict[str, Planned]:
    """The runs of ``before`` by name; each may begin with one above it. Faults are added to ``faults``."""
    found: dict[str, Planned] = {}
    faulty: set[str] = set()
    for name, sections in study.before.items():
        try:
            parsed = parse(RunConfig, laid_over(spelled_out(study.run), spelled_out(sections)), name)
            _check_run(parsed, None)
            start = None if str(parsed.init) in faulty else _start(parsed, found)  # whose fault is told already
        except InputError as error:
            _note(faults, error, f"before.{name}")
            faulty.add(name)
            continue
        axes = {axis: f"before: {name}" if place == 0 else "" for place, axis in enumerate(names)}
        found[name] = Planned(name, axes, parsed, start, first=True)
    return found


def _start(found: RunConfig, before: Mapping[str, Planned]) -> Planned | None:
    """The run of ``before`` that a configuration begins with, if it does.

    Raises:
        InputError: its ``init`` is neither the name of such a run nor the folder of one that is finished, or that run
            has another backbone.
    """
    if found.init is None:
        return None
    start = before.get(str(found.init))
    if start is None and before and not found.init.exists():
        raise InputError(f"init: no run of before is called {str(found.init)!r}; {near(str(found.init), before)}")
    if start is None:
        check_start(found)
    else:
        check_alike(start.config.backbone, found.backbone, f"before.{start.label}")
    return start


def _title(study: Study) -> str:
    return f"study {study.name}" if study.name else "the study"


def _lines(faults: dict[str, list[str]]) -> list[str]:
    return [f"{line} (run {labels[0]!r}{and_more(len(labels) - 1)})" for line, labels in faults.items()]


def _note(faults: dict[str, list[str]], error: InputError, label: str) -> None:
    for line in error.lines if isinstance(error, Faults) else (str(error),):
        faults.setdefault(line, []).append(label)


def digest(section: Section) -> str:
    """Ten digits that tell a resolved section from all others."""
    text = json.dumps(section.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _check_run(found: RunConfig, test: TestSection | None) -> None:
    """See that a run can be trained beside others and tested as the study says, before hours are spent on it."""
    if found.training.devices * found.training.num_nodes > 1:
        raise InputError(
            "training.devices: a run of a study takes one device; start the study once for each device instead"
        )
    check_trainable(found)
    if test is not None and test.preset is not None:
        classes = found.data.classes
        tested = PRESETS.get(test.preset).of_classes(found.data.only).classes
        if classes != tested:
            raise InputError(
                f"test.preset: {test.preset} has classes {', '.join(tested)}; "
                f"data.preset {found.data.preset} has {', '.join(classes)}"
            )


def and_more(others: int) -> str:
    return f" and {others} more" if others else ""


def _at(found: RunConfig, path: str) -> Any:
    """What a configuration holds at ``training.rate``, a component's name at ``backbone``; nothing at no field."""
    value: Any = found.model_dump(mode="json", exclude_none=True)
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return value.get("name", "") if isinstance(value, dict) else value

"""A study: a file that says which runs are compared, and the plan that follows from it.

>>> study = read("runs/studies/backbones.toml")
>>> [planned.label for planned in plan(study)]
["ViT, seed 1", "ResNet-18, seed 1", ...]
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from arcformer import config
from arcformer.config import Component, Faults, Section, flat, parse, read_toml
from arcformer.errors import InputError, near
from arcformer.sim.presets import PRESETS
from arcformer.training.recipe import RunConfig, check_trainable
from arcformer.training.start import check_alike, check_start

__all__ = ["Planned", "ReachSection", "Study", "TestSection", "and_more", "begins_with", "plan", "read"]

LONGEST = 60
"""Characters of a label that go into the name of a folder."""


class TestSection(Section):
    """The images that every run is tested on, and that nothing is chosen by.

    ``preset``: what is simulated; None: the preset of the run. For a run on a folder, None takes its test part.
    ``folder``: labelled images instead, in the layout of DeepLense, or a store.
    ``count``: how many images are simulated, the classes balanced; None: 3000.
    ``seed``: of the simulated images and of the intervals. The images are the same for every run of the study.
    """

    preset: str | None = None
    folder: Path | None = None
    count: int | None = Field(default=None, ge=1)
    seed: int = 1000

    @model_validator(mode="after")
    def _one_source(self) -> TestSection:
        if self.preset is not None:
            PRESETS.get(self.preset)
        if self.folder is not None and (self.preset is not None or self.count is not None):
            raise InputError("preset and count are for simulated images; of folder, all images are taken")
        if self.folder is not None and not self.folder.is_dir():
            raise InputError(f"{self.folder}: no such folder")
        return self


class ReachSection(Section):
    """After how many training images a metric of the validation has reached a value.

    It is known as finely as ``training.evaluate_every`` goes.

    ``metric``: a name in the validations of ``log.jsonl``.
    ``value``: to be reached.
    ``better``: whether it is reached from below, ``max``, or from above, ``min``.
    """

    metric: str = "auroc"
    value: float = 0.9
    better: Literal["max", "min"] = "max"


def _dotted(axes: Any) -> Any:
    """``data.preset = [...]`` as TOML reads it, a table in a table, by the name as it was written."""
    return flat(axes) if isinstance(axes, dict) else axes


Axes = Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], BeforeValidator(_dotted)]


class Study(Section):
    """Runs that are compared: what is common to them, what differs, and how they are measured.

    ``name``: of the study; by default that of its file.
    ``base``: a run file, seen from the folder of the study file; in its place or on top of it,
    ``run``: sections as in a run file.
    ``before``: runs by name, as sections on top of ``run``, that others begin with: where these say ``init``, such a
    name stands for the weights. They are trained once and not tested.
    ``axes``: fields or sections of a run, each with a list of values; every combination is a run. A table that bears a
    ``label`` is a value that sets any fields of a run at once; its axis can have any name.
    ``grid``: further combinations, of axes that stand in for those of the same name in ``axes``. There, a label
    stands for the value that bears it.
    ``test``: the images for the test; None: runs are validated only.
    ``reach``: asks how soon a metric reaches a value.
    """

    name: str = ""
    base: Path | None = None
    run: dict[str, Any] = Field(default_factory=dict)
    before: dict[str, dict[str, Any]] = Field(default_factory=dict)
    axes: Axes = Field(default_factory=dict)
    grid: list[Axes] = Field(default_factory=list)
    test: TestSection | None = None
    reach: ReachSection | None = None


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


def read(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """The study in a TOML file, with what its base says taken into ``run``.

    Raises:
        InputError: naming every faulty field; those of the runs are found by ``plan``.
    """
    path = Path(path)
    study = config.read(Study, path, overrides)
    base = read_toml(path.parent / study.base) if study.base else {}
    return study.model_copy(
        update={"name": study.name or path.stem, "base": None, "run": laid_over(base, study.run)},
    )


def plan(study: Study) -> list[Planned]:
    """The runs of a study, in the order of its file; of those with the same configuration only the first.

    First come those of ``before`` that others begin with.

    Raises:
        InputError: naming every fault of every run: unknown fields, two axes that set the same field, two values
            with the same label, a test on other classes than those of the run, an ``init`` that is nothing to begin
            with or has another backbone, corrections of low rank that cannot be made.
    """
    runs: dict[str, Planned] = {}
    faults: dict[str, list[str]] = {}
    names = list(dict.fromkeys(name for axes in (study.axes, *study.grid) for name in axes))
    before = _before(study, names, faults)
    if faults:  # with which the runs that begin with these would be faulty too
        raise Faults(_title(study), _lines(faults))
    for values in _combinations(study):
        label = ", ".join(value.label for value in values) or "base"
        try:
            _check_apart(values)
            tree = _spelled_out(study.run)
            for value in sorted(values, key=lambda value: value.axis.count(".")):  # backbone, then backbone.size
                tree = laid_over(tree, value.sets)
            found = parse(RunConfig, tree, label)
            _check_run(found, study.test)
            start = _start(found, before)
        except InputError as error:
            _note(faults, error, label)
            continue
        given = {value.axis: value.text for value in values}
        axes = {name: given.get(name) or _text(_at(found, name)) for name in names}
        one = Planned(label, axes, found, start)
        runs.setdefault(one.digest, one)
    if faults:
        raise Faults(_title(study), _lines(faults))
    needed: dict[str, Planned] = {}
    for one in runs.values():
        needed |= {earlier.digest: runs.get(earlier.digest, earlier) for earlier in one.starts}
    return list((needed | runs).values())


def begins_with(config: RunConfig, start: str) -> RunConfig:
    """A configuration as its digest is made: what it begins with is known by its own digest, wherever it lies."""
    return config.model_copy(update={"init": Path(start)})


def _before(study: Study, names: Sequence[str], faults: dict[str, list[str]]) -> dict[str, Planned]:
    """The runs of ``before`` by name; each may begin with one above it. Faults are added to ``faults``."""
    found: dict[str, Planned] = {}
    for name, sections in study.before.items():
        try:
            parsed = parse(RunConfig, laid_over(_spelled_out(study.run), _spelled_out(sections)), name)
            _check_run(parsed, None)
            start = _start(parsed, found)
        except InputError as error:
            _note(faults, error, f"before.{name}")
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


def laid_over(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``tree`` with ``changes``, table by table; one with a ``name`` takes the place of what was there.

    For such a table names a component, and the options of another component mean nothing to it.
    """
    merged = dict(tree)
    for name, value in changes.items():
        there = merged.get(name)
        if isinstance(value, dict) and isinstance(there, dict) and "name" not in value:
            value = laid_over(there, value)
        merged[name] = value
    return merged


@dataclass(frozen=True)
class _Value:
    """A value on an axis: ``text`` in the table, ``label`` where no axis stands above it, what it ``sets`` of a run."""

    axis: str
    text: str
    label: str
    sets: dict[str, Any]
    labelled: bool

    @classmethod
    def of(cls, axis: str, value: Any) -> _Value:
        if isinstance(value, dict) and "label" in value:
            text, sets = str(value["label"]), {name: item for name, item in value.items() if name != "label"}
            return cls(axis, text, text, _spelled_out(sets), labelled=True)
        if isinstance(value, dict) and axis.partition(".")[0] not in RunConfig.model_fields:
            raise InputError(
                f"axis {axis}: no field of a run, so that each of its values needs a label; one has {', '.join(value)}"
            )
        sets = value
        for part in reversed(axis.split(".")):
            sets = {part: sets}
        text = _text(value)
        label = text if isinstance(value, str | dict) else f"{axis.rpartition('.')[2]} {text}"
        return cls(axis, text, label, _spelled_out(sets), labelled=False)


def _combinations(study: Study) -> Iterator[tuple[_Value, ...]]:
    """The product of the axes, and then that of every grid."""
    shared = {axis: [_Value.of(axis, value) for value in values] for axis, values in study.axes.items()}
    _check_labels(shared, "axes")
    if study.axes or not study.grid:
        yield from itertools.product(*shared.values())
    for place, grid in enumerate(study.grid):
        own = {
            axis: [_referred(axis, value, shared.get(axis, []), place) for value in values]
            for axis, values in grid.items()
        }
        _check_labels(own, f"grid.{place}")
        yield from itertools.product(*(shared | own).values())


def _referred(axis: str, value: Any, shared: list[_Value], place: int) -> _Value:
    """The value of an axis in a grid; a string is the label of one in ``axes``, where these have labels."""
    labelled = {there.text: there for there in shared if there.labelled}
    if not isinstance(value, str) or not labelled:
        return _Value.of(axis, value)
    if value not in labelled:
        raise InputError(f"grid.{place}.{axis}: no value is labelled {value!r}; {near(value, labelled)}")
    return labelled[value]


def _check_labels(axes: dict[str, list[_Value]], where: str) -> None:
    """See that no two values of an axis look the same: their runs could not be told apart in the table."""
    for axis, values in axes.items():
        seen: dict[str, _Value] = {}
        for value in values:
            if seen.setdefault(value.text, value).sets != value.sets:
                raise InputError(f"{where}.{axis}: two values are called {value.text!r}; give each a label of its own")


def _check_apart(values: Sequence[_Value]) -> None:
    """See that no two axes set the same field, of which one would be lost."""
    taken: dict[str, str] = {}
    for value in values:
        for path in flat(value.sets):
            for other, axis in taken.items():
                if f"{path}.".startswith(f"{other}.") or f"{other}.".startswith(f"{path}."):
                    raise InputError(f"{path}: set by the axes {axis} and {value.axis}; let one of them set it")
        taken |= dict.fromkeys(flat(value.sets), value.axis)


def _check_run(found: RunConfig, test: TestSection | None) -> None:
    """See that a run can be trained beside others and tested as the study says, before hours are spent on it."""
    if found.training.devices * found.training.num_nodes > 1:
        raise InputError(
            "training.devices: a run of a study takes one device; start the study once for each device instead"
        )
    check_trainable(found)
    if test is not None and test.preset is not None:
        classes, tested = (PRESETS.get(name).classes for name in (found.data.preset, test.preset))
        if classes != tested:
            raise InputError(
                f"test.preset: {test.preset} has classes {', '.join(tested)}; "
                f"data.preset {found.data.preset} has {', '.join(classes)}"
            )


def _spelled_out(tree: dict[str, Any]) -> dict[str, Any]:
    """Components given by their name alone, ``backbone = "swin"``, as tables, to which options can be added."""
    kinds = {name: field.annotation for name, field in RunConfig.model_fields.items()}
    return {
        name: {"name": value} if isinstance(value, str) and kinds.get(name) is Component else value
        for name, value in tree.items()
    }


def and_more(others: int) -> str:
    return f" and {others} more" if others else ""


def _at(found: RunConfig, path: str) -> Any:
    """What a configuration holds at ``training.rate``, a component's name at ``backbone``; nothing at no field."""
    value: Any = found.model_dump(mode="json", exclude_none=True)
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return value.get("name", "") if isinstance(value, dict) else value


def _text(value: Any) -> str:
    """A value as a person writes it: ``0.001``, ``swin``, ``size tiny``."""
    if isinstance(value, dict):
        name = [str(value["name"])] if "name" in value else []
        return " ".join(name + [f"{key} {_text(item)}" for key, item in flat(value).items() if key != "name"])
    if isinstance(value, list | tuple):
        return "x".join(_text(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)

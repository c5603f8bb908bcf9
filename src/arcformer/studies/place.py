"""Where a run of a study lies: its folder, what has become of it, and the numbers that it left there.

``run/`` is the run folder, ``test-DIGEST.json`` the result on the test images (of another test, another file), and
``test-DIGEST.safetensors`` what is kept of each of them,
``failed.json`` why it ended before its end, ``claim`` which process is at work on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from arcformer import config
from arcformer.errors import InputError
from arcformer.studies.plan import Planned, begins_with, digest
from arcformer.studies.study import ReachSection, Study, TestSection
from arcformer.training.folder import finished
from arcformer.training.recipe import RunConfig

__all__ = ["Number", "Outcome", "Place", "outcomes", "places"]

COST = {"parameters": "", "images_seen": "images", "images_per_second": "images/s", "seconds": "s"}
"""What ``metrics.json`` says of a run beside its validation, and the units."""

FACTS = ("device", "commit")

State = Literal["done", "failed", "claimed", "begun", "to do"]


@dataclass(frozen=True)
class Number:
    """A number of a run, with the ends of its 95 % interval where it has one."""

    value: float
    unit: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Place:
    """The folder of a run of a study.

    Attributes:
        folder: where it lies, or is to lie.
        test: the section of the study.
    """

    folder: Path
    test: TestSection | None

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def claim(self) -> Path:
        return self.folder / "claim"

    @property
    def failure(self) -> Path:
        return self.folder / "failed.json"

    @property
    def tested(self) -> Path | None:
        """The file with the result on the test images."""
        return self.folder / f"test-{digest(self.test)}.json" if self.test else None

    @property
    def of_each(self) -> Path | None:
        """The file with what is kept of every test image."""
        return None if self.tested is None else self.tested.with_suffix(".safetensors")

    @property
    def done(self) -> bool:
        """Whether the run is trained and, where the study tests, tested."""
        return finished(self.run) and (self.tested is None or self.tested.exists())

    @property
    def state(self) -> tuple[State, str]:
        """What has become of the run, and a word on it."""
        if self.done:
            return "done", ""
        holder = _text_of(self.claim)
        if holder is not None:
            process, host, *_ = [*holder.splitlines(), "?", "?"]
            return "claimed", f"by process {process} on {host}; if it is gone and this stays, remove {self.claim}"
        failure = _text_of(self.failure)
        if failure is not None:
            return "failed", str(json.loads(failure)["reason"])
        if finished(self.run):
            return "begun", "trained, not tested"
        return ("begun", "") if (self.run / "log.jsonl").exists() else ("to do", "")


@dataclass(frozen=True)
class Outcome:
    """A run of a study and what has become of it.

    Attributes:
        planned: the run.
        place: where it lies.
        state, note: done, failed (and why), claimed (and by whom), begun, to do.
        numbers: by name; none where the run is not done.
        facts: what is no number: device, commit.
    """

    planned: Planned
    place: Place
    state: State
    note: str
    numbers: dict[str, Number]
    facts: dict[str, str]


def places(study: Study, planned: Iterable[Planned], out: Path) -> list[Place]:
    """Where the runs of a study lie in ``out``: where their configuration is found, or else under their name.

    So neither another label nor a new option of the library, which its default does not change, begins a run anew.
    """
    there = {_digest_of(folder): folder for folder in sorted((out / "runs").glob("*-*"))}
    return [
        Place(there.get(one.digest, out / "runs" / one.folder), None if one.first else study.test) for one in planned
    ]


def outcomes(study: Study, planned: Iterable[Planned], out: Path) -> list[Outcome]:
    """What has become of the runs of a study, as the files in ``out`` tell it."""
    planned = list(planned)
    where = {one.digest: place for one, place in zip(planned, places(study, planned, out), strict=True)}
    return [_outcome(one, where, study) for one in planned]


def _text_of(path: Path) -> str | None:
    """What a file holds that another process may take away at any moment; None: it is not there."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _outcome(planned: Planned, where: Mapping[str, Place], study: Study) -> Outcome:
    place = where[planned.digest]
    state, note = place.state
    if state != "done":
        return Outcome(planned, place, state, note, {}, dict.fromkeys(FACTS, ""))
    facts = json.loads((place.run / "metrics.json").read_text())
    tested = json.loads(place.tested.read_text())["numbers"] if place.tested else {}
    numbers = {name: Number(**number) for name, number in tested.items() if number["value"] is not None}
    validated = {name: value for name, value in facts["validation"].items() if isinstance(value, int | float)}
    numbers |= {f"validation_{name}": Number(value) for name, value in validated.items()}
    numbers |= {name: Number(facts[name], unit) for name, unit in COST.items()}
    earlier = [json.loads((where[one.digest].run / "metrics.json").read_text()) for one in planned.starts]
    for name in ("images_seen", "seconds") if earlier else ():
        numbers[f"{name}_before"] = Number(sum(one[name] for one in earlier), COST[name])
    if study.reach:
        reached = _reached(study.reach, place.run / "log.jsonl")
        if reached is not None:
            per_step = facts["images_seen"] / planned.config.training.steps
            name = f"images_to_{study.reach.metric}_{study.reach.value:g}"
            numbers[name] = Number(round(reached * per_step), "images")
    kept = {name: str(facts[name] or "") for name in FACTS}
    return Outcome(planned, place, state, note, numbers, kept)


def _reached(reach: ReachSection, log: Path) -> int | None:
    """The first validated step at which the metric has reached its value; None: it never did."""
    sign = 1 if reach.better == "max" else -1
    for line in map(json.loads, log.read_text().splitlines()):
        value: Any = line.get("validation", {}).get(reach.metric)
        if isinstance(value, int | float) and sign * value >= sign * reach.value:
            return line["step"]
    return None


def _digest_of(folder: Path) -> str:
    """The digest of the configuration in a folder, as this version of the library has it; else what the name says.

    What the run began with is looked for beside it, by its name, so that a study may be moved.
    """
    try:
        found = config.read(RunConfig, folder / "run" / "config.toml")
    except InputError:
        return folder.name.rpartition("-")[2]
    if found.init is not None and found.init.parts[-3:-2] == (folder.parent.name,):
        found = begins_with(found, _digest_of(folder.parent / found.init.parent.name))
    return digest(found)

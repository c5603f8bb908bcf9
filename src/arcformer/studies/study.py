"""A study: a file that says which runs are compared, and how they are measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from arcformer import config
from arcformer.config import Section, flat, listed, read_toml
from arcformer.errors import InputError
from arcformer.sim.presets import PRESETS

__all__ = ["ContrastSection", "ReachSection", "Study", "TestSection", "laid_over", "read"]


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


class ContrastSection(Section):
    """Which runs are compared with which, on the same images and with the same seeds.

    ``axis``: along which.
    ``against``: the value, or its label, that all others on this axis are compared with; or several such.
    """

    axis: str
    against: Annotated[tuple[str, ...], BeforeValidator(listed), Field(min_length=1)]


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
    ``contrast``: asks by how much runs differ from others in the test.
    """

    name: str = ""
    base: Path | None = None
    run: dict[str, Any] = Field(default_factory=dict)
    before: dict[str, dict[str, Any]] = Field(default_factory=dict)
    axes: Axes = Field(default_factory=dict)
    grid: list[Axes] = Field(default_factory=list)
    test: TestSection | None = None
    reach: ReachSection | None = None
    contrast: ContrastSection | None = None


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

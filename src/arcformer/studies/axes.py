"""The axes of a study: their values, what each sets of a run, and all combinations."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from arcformer.config import Component, flat
from arcformer.errors import InputError, near
from arcformer.studies.study import Study
from arcformer.training.recipe import RunConfig

__all__ = ["Value", "check_apart", "combinations", "spelled_out", "written"]


@dataclass(frozen=True)
class Value:
    """A value on an axis: ``text`` in the table, ``label`` where no axis stands above it, what it ``sets`` of a run."""

    axis: str
    text: str
    label: str
    sets: dict[str, Any]
    labelled: bool

    @classmethod
    def of(cls, axis: str, value: Any) -> Value:
        if isinstance(value, dict) and "label" in value:
            text, sets = str(value["label"]), {name: item for name, item in value.items() if name != "label"}
            return cls(axis, text, text, spelled_out(sets), labelled=True)
        if isinstance(value, dict) and axis.partition(".")[0] not in RunConfig.model_fields:
            raise InputError(
                f"axis {axis}: no field of a run, so that each of its values needs a label; one has {', '.join(value)}"
            )
        sets = value
        for part in reversed(axis.split(".")):
            sets = {part: sets}
        text = written(value)
        label = text if isinstance(value, str | dict) else f"{axis.rpartition('.')[2]} {text}"
        return cls(axis, text, label, spelled_out(sets), labelled=False)


def combinations(study: Study) -> Iterator[tuple[Value, ...]]:
    """The product of the axes, and then that of every grid."""
    shared = {axis: [Value.of(axis, value) for value in values] for axis, values in study.axes.items()}
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


def _referred(axis: str, value: Any, shared: list[Value], place: int) -> Value:
    """The value of an axis in a grid; a string is the label of one in ``axes``, where these have labels."""
    labelled = {there.text: there for there in shared if there.labelled}
    if not isinstance(value, str) or not labelled:
        return Value.of(axis, value)
    if value not in labelled:
        raise InputError(f"grid.{place}.{axis}: no value is labelled {value!r}; {near(value, labelled)}")
    return labelled[value]


def _check_labels(axes: dict[str, list[Value]], where: str) -> None:
    """See that no two values of an axis look the same: their runs could not be told apart in the table."""
    for axis, values in axes.items():
        seen: dict[str, Value] = {}
        for value in values:
            if seen.setdefault(value.text, value).sets != value.sets:
                raise InputError(f"{where}.{axis}: two values are called {value.text!r}; give each a label of its own")


def check_apart(values: Sequence[Value]) -> None:
    """See that no two axes set the same field, of which one would be lost."""
    taken: dict[str, str] = {}
    for value in values:
        for path in flat(value.sets):
            for other, axis in taken.items():
                if f"{path}.".startswith(f"{other}.") or f"{other}.".startswith(f"{path}."):
                    raise InputError(f"{path}: set by the axes {axis} and {value.axis}; let one of them set it")
        taken |= dict.fromkeys(flat(value.sets), value.axis)


def spelled_out(tree: dict[str, Any]) -> dict[str, Any]:
    """Components given by their name alone, ``backbone = "swin"``, as tables, to which options can be added."""
    kinds = {name: field.annotation for name, field in RunConfig.model_fields.items()}
    return {
        name: {"name": value} if isinstance(value, str) and kinds.get(name) is Component else value
        for name, value in tree.items()
    }


def written(value: Any) -> str:
    """A value as a person writes it: ``0.001``, ``swin``, ``size tiny``."""
    if isinstance(value, dict):
        name = [str(value["name"])] if "name" in value else []
        return " ".join(name + [f"{key} {written(item)}" for key, item in flat(value).items() if key != "name"])
    if isinstance(value, list | tuple):
        names = any(isinstance(item, str) for item in value)
        return ("+" if names else "x").join(written(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)

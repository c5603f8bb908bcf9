"""The tables of a study: a row a run, a row a cell of several seeds, and all numbers as flat rows."""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from arcformer.disk import whole
from arcformer.metrics import Estimate, mean
from arcformer.studies.evaluate import KINDS
from arcformer.studies.place import Number, Outcome

__all__ = ["flat_rows", "run_rows", "seed_rows", "write_results"]

LAST = ("device", "commit", "folder", "note")
"""Columns to the right of the numbers."""

Row = dict[str, Any]


def run_rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """A row a run: its axes, what has become of it, its numbers with ``_low`` and ``_high`` where these are known."""
    rows = []
    for outcome in outcomes:
        row: Row = {**outcome.planned.axes, "state": outcome.state}
        for name, number in outcome.numbers.items():
            row[name] = number.value
            if number.low is not None:
                row |= {f"{name}_low": number.low, f"{name}_high": number.high}
        rows.append(row | outcome.facts | {"folder": outcome.place.folder.name, "note": outcome.note})
    return rows


def seed_rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """A row for every cell with several seeds: of each number the mean, standard deviation and 95 % interval.

    The interval is Student's, of the mean over seeds, less what no such number can be; test images and their interval
    are another matter.
    """
    rows = []
    for cell in _cells(outcomes):
        row: Row = {name: text for name, text in cell[0].planned.axes.items() if name != "seed"}
        row["seeds"] = len(cell)
        for name, (found, deviation, _) in _over_seeds(cell).items():
            row |= {name: found.value, f"{name}_sd": deviation, f"{name}_low": found.low, f"{name}_high": found.high}
        rows.append(row)
    return rows


def flat_rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """Every number as ``name, value, unit``, with ``low`` and ``high``; a name reads metric, preset, run."""
    rows = []
    for outcome in outcomes:
        about = _about(outcome)
        rows += [_flat_row(f"{name} {about}", number) for name, number in outcome.numbers.items()]
    for cell in _cells(outcomes):
        about = f"{_about(cell[0], seed=False)}, {len(cell)} seeds"
        for name, (found, deviation, unit) in _over_seeds(cell).items():
            rows.append(_flat_row(f"{name}_mean {about}", Number(found.value, unit, found.low, found.high)))
            rows.append(_flat_row(f"{name}_sd {about}", Number(deviation, unit)))
    return rows


def write_results(outcomes: Sequence[Outcome], out: Path) -> None:
    """Write ``results.csv``, ``results.json`` and, where cells have several seeds, ``seeds.csv``."""
    _write_csv(run_rows(outcomes), out / "results.csv")
    with whole(out / "results.json") as path:
        path.write_text(json.dumps(flat_rows(outcomes), indent=2) + "\n")
    seeds = seed_rows(outcomes)
    if seeds:
        _write_csv(seeds, out / "seeds.csv")
    else:
        (out / "seeds.csv").unlink(missing_ok=True)  # of a study that had seeds once


def _cells(outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    """The finished runs that differ in nothing but their seed, where there are several."""
    cells: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.state == "done":
            cells.setdefault(outcome.planned.cell, []).append(outcome)
    return [cell for cell in cells.values() if len(cell) > 1]


def _over_seeds(cell: list[Outcome]) -> dict[str, tuple[Estimate, float, str]]:
    """Mean with its interval, standard deviation and unit of every number that all runs of the cell have."""
    shared = [name for name in cell[0].numbers if all(name in outcome.numbers for outcome in cell)]
    found = {}
    for name in shared:
        values = [outcome.numbers[name].value for outcome in cell]
        found[name] = mean(values, within=_range(name)), statistics.stdev(values), cell[0].numbers[name].unit
    return found


def _range(name: str) -> tuple[float, float]:
    """Between which ends a number of that name lies, as far as any kind of result says."""
    name = name.removeprefix("validation_").replace("/", "_")
    known = (ends for kind in KINDS for pattern, ends in kind.evaluation.ranges.items() if fnmatchcase(name, pattern))
    return next(known, (-math.inf, math.inf))


def _about(outcome: Outcome, seed: bool = True) -> str:
    planned, test = outcome.planned, outcome.place.test
    preset = (test.preset if test else None) or planned.config.data.preset
    texts = {name: f"seed {text}" if name == "seed" else text for name, text in planned.axes.items()}
    kept = [text for name, text in texts.items() if text != preset and (seed or name != "seed")]
    return " ".join([preset, ", ".join(kept)]).strip()


def _flat_row(name: str, number: Number) -> Row:
    row: Row = {"name": name, "value": number.value, "unit": number.unit}
    return row if number.low is None else row | {"low": number.low, "high": number.high}


def _write_csv(rows: Sequence[Row], path: Path) -> None:
    columns = dict.fromkeys(name for row in rows for name in row if name not in LAST)
    with whole(path) as unfinished, unfinished.open("w", newline="") as file:
        table = csv.DictWriter(file, [*columns, *(name for name in LAST if name in rows[0])], restval="")
        table.writeheader()
        table.writerows(rows)

"""``arcformer study``: runs that are compared, each done once, and their table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arcformer.cli.output import counted, note, say, table
from arcformer.cli.resumable import Interrupted, given

if TYPE_CHECKING:
    from arcformer.studies.place import Number, Outcome
    from arcformer.studies.study import Study

__all__ = ["study"]

FAILED = 1
"""The exit code where a run has failed."""

COST = ("parameters", "seconds", "seconds_before", "images_per_second")
"""What is shown on the terminal beside the result; the files hold all numbers."""


def study(
    context: typer.Context,
    study_file: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="Which runs are compared.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="section.field=value", help="What is to be different from that.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of the study; named after its file by default.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs, with what is done, and stop.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Also do the runs that failed before.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
) -> None:
    """Train and test every run of a grid, and compare them in a table.

    Nothing is done twice: the same command goes on after Ctrl-C, and does what is new when STUDY.toml has grown.
    Several processes may be given it at once, each on a device of its own. A run that fails is noted and the others
    are done; the exit code is then 1. DIR holds results.csv, results.json and, where there are such, seeds.csv and
    contrasts.json.

    Example:
      arcformer study runs/studies/backbones.toml --dry-run
      arcformer study runs/studies/backbones.toml --out backbones
      arcformer study runs/studies/backbones.toml run.training.steps=100 test.count=300 --out trial
    """
    from arcformer.studies.conduct import check_folder, run
    from arcformer.studies.contrast import CONTRASTS
    from arcformer.studies.place import outcomes
    from arcformer.studies.plan import plan
    from arcformer.studies.study import read

    asked = read(study_file, overrides or [])
    out = Path(asked.name) if out is None else out
    planned = plan(asked)
    check_folder(asked, out)
    if dry_run:
        found = outcomes(asked, planned, out)
        table(
            (*planned[0].axes, "state", "folder"), [(*_axes(one), _state(one), one.place.folder.name) for one in found]
        )
        say(_tally(found))
        return
    try:
        found = run(asked, out, planned=planned, retry=retry, quiet=quiet, tell=note)
    except KeyboardInterrupt:
        tally = _tally(outcomes(asked, planned, out))
        raise Interrupted(f"interrupted; {tally}; the same command goes on: {given(context)}") from None
    _show(asked, found)
    if asked.contrast is not None:
        _show_contrasts(out / CONTRASTS)
    say(f"{_tally(found)}\ntables: {out / 'results.csv'}, {out / 'results.json'}")
    if any(outcome.state == "failed" for outcome in found):
        note("arcformer: some runs failed; do them again with --retry")
        raise typer.Exit(FAILED)


def _show(asked: Study, found: Sequence[Outcome]) -> None:
    """The numbers that a comparison is about, of every run and of every cell of several seeds."""
    from arcformer.studies.evaluate import told_by
    from arcformer.studies.results import seed_rows
    from arcformer.tasks import TASKS

    monitors = {TASKS.get(one.planned.config.task.name).monitor[0] for one in found if not one.planned.first}
    known = dict.fromkeys(name for one in found for name in one.numbers)
    validated = [name for name in known if name.startswith("validation_")]
    tested = [name for name in known if name not in validated]
    watched = [f"validation_{name}" for name in sorted(monitors)]
    metrics = told_by(tested) if asked.test else list(dict.fromkeys([*watched, *told_by(validated)]))
    reached = [name for name in known if name.startswith("images_to_")]
    names = [*metrics, *reached, *(name for name in COST if name in known)]
    rows = [
        (*_axes(one), one.state, *(_cell(one.numbers[name]) if name in one.numbers else "" for name in names))
        for one in found
    ]
    table((*found[0].planned.axes, "state", *names), rows)
    for one in found:
        if one.note:
            note(f"{one.planned.label}: {one.state}: {one.note}")
    over_seeds = seed_rows(found)
    if over_seeds:
        axes, names = [name for name in found[0].planned.axes if name != "seed"], [*metrics, *reached]
        say("\nmean over seeds, with the 95 % interval of the mean")
        rows = [
            (*(row[axis] for axis in axes), row["seeds"], *(_mean(row, name) for name in names)) for row in over_seeds
        ]
        table((*axes, "seeds", *names), rows)
    say()


def _show_contrasts(path: Path) -> None:
    """By how much runs differ from those that the study compares them with, as the study has just written it."""
    rows = json.loads(path.read_text())
    if rows:
        say("\non the same images and seeds")
        lines = [(row["name"], f"{row['value']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]") for row in rows]
        table(("difference", "with its 95 % interval"), lines)


def _mean(row: dict[str, Any], name: str) -> str:
    from arcformer.studies.place import Number

    return _cell(Number(row[name], low=row[f"{name}_low"], high=row[f"{name}_high"])) if name in row else ""


def _cell(number: Number) -> str:
    """``0.931 [0.924, 0.938]``, ``1,234,567``."""
    digits = 3 if abs(number.value) < 10 else 0
    text = f"{number.value:,.{digits}f}"
    return text if number.low is None else f"{text} [{number.low:,.{digits}f}, {number.high:,.{digits}f}]"


def _axes(outcome: Outcome) -> list[str]:
    return list(outcome.planned.axes.values())


def _state(outcome: Outcome) -> str:
    return f"{outcome.state}: {outcome.note}" if outcome.note else outcome.state


def _tally(found: Sequence[Outcome]) -> str:
    """``7 runs: 3 done, 1 failed, 3 to do``."""
    states = [outcome.state for outcome in found]
    return f"{counted(len(found), 'run')}: " + ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))

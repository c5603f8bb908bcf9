"""What the verbs print: results to stdout, as tables where they are tables, and notes to stderr."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import typer

from arcformer.errors import InputError

__all__ = ["check_free", "counted", "first_process", "left_out", "note", "passed_over", "say", "table", "tabulated"]

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Where torchrun, Lightning, SLURM and LSF say which process this is."""

WIDE = 10_000
"""Columns where no terminal sets a limit, so that a pipe or file gets whole lines."""


def say(text: str = "") -> None:
    """A line of the result."""
    typer.echo(text)


def note(text: str) -> None:
    """A line beside the result."""
    typer.echo(text, err=True)


def left_out(bad: Sequence[str], junk: int = 0, where: str = "") -> None:
    """Notes on files that were not used: bad ones counted and listed, junk counted; nothing where there are none."""
    if junk:
        note(f"{where}{counted(junk, 'file')} passed over: hidden or of no known format")
    if bad:
        note("\n".join([f"{where}{counted(len(bad), 'bad file')} left out", *(f"  {line}" for line in bad)]))


def passed_over(others: Mapping[str, int], where: str = "") -> None:
    """A note on images of classes that a run is not about; nothing where there are none."""
    if others:
        held = " and ".join(f"{counted(number, 'image')} of {name}" for name, number in others.items())
        note(f"{where}{held} left out: the run is about other classes (data.only)")


def counted(number: int, what: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout: as wide as the terminal, or with whole lines where there is none."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for row in rows:
        drawn.add_row(*(Text(str(cell)) for cell in row))
    if sys.stdout.isatty():
        Console().print(drawn)
        return
    console = Console(width=WIDE)
    with console.capture() as captured:
        console.print(drawn)
    say("\n".join(line.rstrip() for line in captured.get().splitlines()))


def tabulated(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on a terminal, CSV elsewhere."""
    if sys.stdout.isatty():
        table(columns, rows)
    else:
        csv.writer(sys.stdout, lineterminator="\n").writerows([columns, *rows])


def check_free(path: Path, force: bool) -> None:
    """See that a file can be written: it is not there yet, or the user has said that it may be replaced.

    Raises:
        InputError: it is there, or is a folder.
    """
    if path.is_dir() or (path.exists() and not force):
        raise InputError(f"{path} is there, and nothing is overwritten: name another with --out, or say --force")


def first_process() -> bool:
    """Whether this is the only process, or the first of several that run the same command."""
    return int(next((os.environ[name] for name in RANKS if name in os.environ), 0)) == 0

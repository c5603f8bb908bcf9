"""Progress on a terminal: how far, how fast, how long still. Silence elsewhere, and for what takes a moment only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["terminal", "track"]

PATIENCE = 2.0
"""Seconds before a bar appears."""

T = TypeVar("T")


def terminal(quiet: bool = False) -> Console:
    """Where progress goes: the terminal behind stderr, or nowhere if it is none or the run is to be quiet."""
    console = Console(stderr=True)
    return console if console.is_terminal and not quiet else Console(quiet=True)


def track(
    items: Iterable[T],
    title: str,
    total: int | None = None,
    *,
    size: Callable[[T], int] = lambda _: 1,
    unit: str = "images",
    console: Console | None = None,
) -> Iterator[T]:
    """The items, with a bar that comes up only when there is something to wait for.

    Args:
        items: passed on one by one.
        title: what is going on, as ``"checking files"``.
        total: how many items there are; None: as many as ``len`` says, or unknown.
        size: how many of ``unit`` an item holds: ``len`` for batches of images. The rate counts them.
        unit: what is counted.
        console: where the bar goes; None: ``terminal()``.
    """
    console = console or terminal()
    if total is None:
        total = len(items) if hasattr(items, "__len__") else None  # pyright: ignore[reportArgumentType]
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=console,
        disable=console.quiet,
        transient=True,
    )
    row, start, done = bar.add_task(title, total=total, speed=""), time.monotonic(), 0
    try:
        for item in items:
            yield item
            done += size(item)
            waited = time.monotonic() - start
            if waited > PATIENCE and not bar.live.is_started:
                bar.start()
            bar.update(row, advance=1, speed=f"{done / max(waited, 1e-9):,.0f} {unit}/s")
    finally:
        bar.stop()

"""Progress on a terminal: how far, how fast, how long still. Silence elsewhere, and for what takes a moment only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Timer
from time import monotonic
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["terminal", "track", "working"]

PATIENCE = 2.0
"""Seconds before anything appears."""

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
    if console.quiet:
        yield from items
        return
    if total is None:
        total = len(items) if hasattr(items, "__len__") else None  # pyright: ignore[reportArgumentType]
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    row, start, done = bar.add_task(title, total=total, speed=""), monotonic(), 0
    with _shown_later(bar):
        for item in items:
            yield item
            done += size(item)
            bar.update(row, advance=1, speed=f"{done / max(monotonic() - start, 1e-9):,.0f} {unit}/s")


@contextmanager
def working(title: str, *, console: Console | None = None) -> Iterator[None]:
    """A sign of life, and the time that has passed, over work that cannot tell how far it is."""
    console = console or terminal()
    if console.quiet:
        yield
        return
    sign = Progress(
        TextColumn("{task.description}"), SpinnerColumn(), TimeElapsedColumn(), console=console, transient=True
    )
    sign.add_task(title, total=None)
    with _shown_later(sign):
        yield


@contextmanager
def _shown_later(display: Progress) -> Iterator[None]:
    """The display comes up after a while, whatever is being waited for, and is taken away at the end."""
    appearance = Timer(PATIENCE, display.start)
    appearance.start()
    try:
        yield
    finally:
        appearance.cancel()
        appearance.join()
        display.stop()

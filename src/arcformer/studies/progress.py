"""A bar over batches of images that comes up only when there is something to wait for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from arcformer.batch import LensBatch

__all__ = ["images_bar"]

PATIENCE = 2.0
"""Seconds before the bar appears."""


def images_bar(batches: Iterable[LensBatch], title: str, total: int | None = None) -> Iterator[LensBatch]:
    """The batches, with images per second and the remaining time where a terminal is there to show them."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    row, start, images = bar.add_task(title, total=total, speed=""), time.monotonic(), 0
    try:
        for batch in batches:
            yield batch
            images += len(batch)
            waited = time.monotonic() - start
            if waited > PATIENCE and not bar.live.is_started:
                bar.start()
            bar.update(row, advance=1, speed=f"{images / max(waited, 1e-9):.0f} images/s")
    finally:
        bar.stop()

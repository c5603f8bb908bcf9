"""What every benchmark gives: a table for people, and the same as a list of flat rows in JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from arcformer.training.provenance import commit, versions

__all__ = ["Row", "emit"]

WIDE = 160
"""Columns of a table that goes to a file or a pipe, where nobody is there to widen the window."""


@dataclass(frozen=True)
class Row:
    """One number, and a peer's beside it where one was run.

    Attributes:
        name: metric, preset, method, as ``auroc deeplense/model-1 mahalanobis``.
        value: the number.
        unit: its unit.
        peer: what was run beside it.
        peer_value: its number, in the same unit.
        ratio: above 1 means better than the peer.
    """

    name: str
    value: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None

    @classmethod
    def beside(
        cls, name: str, value: float, unit: str, peer: str, peer_value: float, better: Literal["higher", "lower"]
    ) -> Row:
        """A row with a peer, whose ratio follows from which of higher and lower is better."""
        ratio = value / peer_value if better == "higher" else peer_value / value
        return cls(name, value, unit, peer, peer_value, ratio)


def emit(rows: Sequence[Row], json_path: str | Path | None = None, about: Mapping[str, Any] | None = None) -> None:
    """Print ``rows`` as a table and, given ``json_path``, write them there; absent fields are left out.

    Given ``about``, as ``{"device": ..., "seed": ...}``, the file has that as well, with date, versions and commit, as
    all that is kept in results/ does.
    """
    table = Table("name", "unit", "peer")
    for column in ("value", "peer value", "ratio"):
        table.add_column(column, justify="right")
    for row in rows:
        numbers = ("" if n is None else f"{n:.4g}" for n in (row.value, row.peer_value, row.ratio))
        table.add_row(row.name, row.unit, row.peer or "", *numbers)
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)
    if json_path:
        flat = [{key: value for key, value in asdict(row).items() if value is not None} for row in rows]
        kept: Any = flat
        if about is not None:
            date = datetime.now(UTC).strftime("%Y-%m-%d")
            kept = {"date": date, **about, "versions": versions(), "commit": commit(), "rows": flat}
        Path(json_path).write_text(json.dumps(kept, indent=2) + "\n")

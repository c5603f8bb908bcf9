"""Keep what a study found in results/: flat rows, with dates, devices and commits of its runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

__all__ = ["NAMED", "ROOT", "rows_of", "write"]

ROOT = Path(__file__).parent.parent

NAMED = re.compile(r"(?P<metric>\S+) (?P<preset>\S+) (?P<run>.+), (?P<seed>seed \d+)")
"""How the number of a single run is named."""

Row = dict[str, Any]


def rows_of(study: Path, metrics: Sequence[str]) -> list[Row]:
    """The rows of a study whose metric, the first word of their name, matches one of these shell patterns."""
    rows = json.loads((study / "results.json").read_text())
    return [row for row in rows if any(fnmatchcase(row["name"].split()[0], pattern) for pattern in metrics)]


def write(name: str, studies: Sequence[Path], rows: Iterable[Row], **more: Any) -> None:
    """Write ``results/NAME``: what the runs of ``studies`` share, the ``rows``, contrasts, and ``more``."""
    runs = [json.loads(path.read_text()) for study in studies for path in (study / "runs").glob("*/run/metrics.json")]
    about: Row = {"date": datetime.now(UTC).strftime("%Y-%m-%d")}
    about |= {fact: ", ".join(sorted({str(run[fact]) for run in runs})) for fact in ("device", "commit")}
    about["commit"] = re.sub(r"\b([0-9a-f]{7})[0-9a-f]{33}", r"\1", about["commit"])  # "-dirty" stays
    found = (study / "contrasts.json" for study in studies)
    contrasts = [row for path in found if path.exists() for row in json.loads(path.read_text())]
    kept = about | more | {"rows": list(rows), "contrasts": contrasts}
    (ROOT / "results" / name).write_text(json.dumps(kept, indent=1) + "\n")

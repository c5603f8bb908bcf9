"""How much memory this process holds, and how much it has held at most."""

from __future__ import annotations

import re
import sys
from pathlib import Path

__all__ = ["forget_peak", "peak", "resident"]

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident() -> float | None:
    """MiB of memory that this process holds; None where the system does not say, which Linux does."""
    return _field("VmRSS")


def peak() -> float | None:
    """MiB that it has held at most since it began, or since ``forget_peak``.

    ``ru_maxrss`` of the standard library will not do: a child inherits that of its parent.
    """
    return _field("VmHWM")


def forget_peak() -> None:
    """Have ``peak`` begin at what is held now, where the system allows that."""
    if sys.platform == "linux":
        try:
            CLEAR.write_text("5")
        except OSError:
            return


def _field(name: str) -> float | None:
    if sys.platform != "linux":
        return None
    found = re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())
    return int(found[1]) / 1024 if found else None

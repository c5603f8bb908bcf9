"""How numbers stand in sentences and tables: with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from arcformer.metrics import Estimate

__all__ = ["listed", "signed", "with_interval"]

LARGE = 1e5
"""From here on numbers are written with a power of ten."""


def with_interval(estimate: Estimate) -> str:
    """``0.931 [0.924, 0.938]``; the value alone where no interval is known; ``not defined`` where it is no number.

    With three digits after the point, or more where the interval is narrower than these show.
    """
    if math.isnan(estimate.value):
        return "not defined"
    return _written(estimate, "")


def signed(estimate: Estimate) -> str:
    """``+0.100 [+0.050, +0.150]``, of a difference."""
    return _written(estimate, "+")


def listed(parts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _written(estimate: Estimate, sign: str) -> str:
    ends = [estimate.low, estimate.high]
    if not all(map(math.isfinite, ends)):
        return f"{estimate.value:{sign}{_form(estimate.value, 0)}}"
    form = _form(max(abs(estimate.value), *map(abs, ends)), estimate.high - estimate.low)
    value, low, high = (f"{number:{sign}{form}}" for number in (estimate.value, *ends))
    return f"{value} [{low}, {high}]"


def _form(size: float, width: float) -> str:
    if abs(size) >= LARGE:
        return ".3e"
    return f".{min(max(3, 1 - math.floor(math.log10(width))), 9) if width > 0 else 3}f"

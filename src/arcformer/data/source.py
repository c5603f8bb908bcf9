"""What gives batches: the simulator, a folder of files, anything that a user writes with these three members."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from arcformer.batch import LensBatch

__all__ = ["BatchSource"]


@runtime_checkable
class BatchSource(Protocol):
    """Batches by number. ``batch(k)`` is a pure function of k and of how the source was made, seed included."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the preset; empty where there are no labels."""
        ...

    @property
    def batches(self) -> int | None:
        """How many batches there are in one pass; None where there is no end (a simulator)."""
        ...

    def batch(self, k: int) -> LensBatch:
        """Batch number k (k >= 0). A finite source goes on with a new order after its last batch."""
        ...

"""Transformers for dark matter morphology with strong gravitational lensing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arcformer.training import fit, load

__all__ = ["fit", "load"]


def __getattr__(name: str) -> Any:
    """``fit`` and ``load``, imported when they are asked for: ``import arcformer`` itself is instant."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from arcformer import training

    return getattr(training, name)

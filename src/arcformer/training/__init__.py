"""Training: the one Lightning module, the Trainer, run folders, ``fit`` and ``load``.

Lightning takes seconds to import. It is imported when ``fit`` is asked for; ``load`` does without.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arcformer.training.folder import Run, load
    from arcformer.training.recipe import RunConfig
    from arcformer.training.run import fit

__all__ = ["Run", "RunConfig", "fit", "load"]

_HOMES = {"Run": "folder", "RunConfig": "recipe", "fit": "run", "load": "folder"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

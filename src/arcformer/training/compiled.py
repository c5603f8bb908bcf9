"""A loss that torch compiles, and what to do where it cannot."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.errors import InputError

__all__ = ["compiled"]

Loss = Callable[[LensBatch], dict[str, Tensor]]


def compiled(loss: Loss) -> Loss:
    """``loss``, compiled when it is first called, which takes up to minutes.

    Raises:
        InputError: when it is called and cannot be compiled: there is no compiler, or torch does not know how.
    """
    from torch._dynamo.exc import BackendCompilerFailed  # which takes a second to import

    fast = torch.compile(loss)

    def run(batch: LensBatch) -> dict[str, Tensor]:
        try:
            return fast(batch)
        except BackendCompilerFailed as error:
            cause = str(error.inner_exception).strip().partition("\n")[0]
            raise InputError(f"training.compile: torch cannot compile this here ({cause}); leave it out") from error

    return run

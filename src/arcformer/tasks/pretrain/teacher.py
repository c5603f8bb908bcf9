"""A teacher: a network that follows another one as the moving average of its weights, and is not trained."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from arcformer.errors import InputError
from arcformer.models.average import follow

__all__ = ["Teacher"]


class Teacher(nn.Module):
    """A copy of ``student``, always in evaluation; let it ``follow`` in ``Task.after_step``.

    Name its parameters in ``Task.frozen_parameters``: then training does not average them once more, and the teacher is
    the only copy of the weights.

    Args:
        student: a network.
        decay: of the average, as in ``models.average.follow``.

    Raises:
        InputError: for a decay outside [0, 1).
    """

    def __init__(self, student: nn.Module, decay: float):
        super().__init__()
        if not 0 <= decay < 1:
            raise InputError(f"the decay of a teacher is a share in [0, 1), got {decay}")
        self.network = copy.deepcopy(student).requires_grad_(False)
        self.decay = decay
        self.train(False)

    def train(self, mode: bool = True) -> Teacher:
        """Stays in evaluation: what a teacher says is not random."""
        return super().train(False)

    def follow(self, student: nn.Module) -> None:
        """Move towards ``student``."""
        follow(self.network, student, self.decay)

    @torch.no_grad()
    def forward(self, *args: Any) -> Any:
        return self.network(*args)

"""The exponential moving average of a task's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn

from arcformer.tasks import Task

__all__ = ["averaged", "follow"]


def averaged(task: Task) -> Task:
    """A copy of ``task`` that is never trained, to ``follow`` it."""
    return copy.deepcopy(task).requires_grad_(False).eval()


@torch.no_grad()
def follow(average: nn.Module, task: nn.Module, step: int, decay: float) -> None:
    """average <- d * average + (1 - d) * task, after optimiser step number ``step`` (from 1). Buffers are copied.

    The decay rises as d = min(decay, (1 + step) / (10 + step)), so that a short run does not remember its random start.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(task.parameters()), weight)
    for mean, buffer in zip(average.buffers(), task.buffers(), strict=True):
        mean.copy_(buffer)

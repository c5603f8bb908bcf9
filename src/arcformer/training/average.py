"""The task whose weights are an average of those in training."""

from __future__ import annotations

import copy

from arcformer.tasks import Task

__all__ = ["averaged", "rising"]


def averaged(task: Task) -> Task:
    """A copy of ``task`` that is never trained, to ``follow`` it.

    What is not trained is not copied but shared: it has no average of its own. So a teacher, which is one already, is
    there once.
    """
    shared = {id(parameter): parameter for parameter in task.frozen_parameters()}
    return copy.deepcopy(task, shared).requires_grad_(False).eval()


def rising(decay: float, step: int) -> float:
    """The decay of the average after optimiser step number ``step``, from 1: min(decay, (1 + step) / (10 + step)).

    So a short run does not remember its random start.
    """
    return min(decay, (1 + step) / (10 + step))

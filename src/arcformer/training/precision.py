"""Which precision is faster here: measured, because the name of a processor does not tell."""

from __future__ import annotations

import copy
import time

import torch

from arcformer.batch import LensBatch
from arcformer.tasks import Task

__all__ = ["autocast", "faster_precision", "seconds_per_step"]

GAIN = 1.1
"""bf16 has to be faster by this factor to be worth its rounding."""

REPEATS = 3


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context in which a task runs under ``precision``, ``"32"`` or ``"bf16"``."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def faster_precision(task: Task, batch: LensBatch) -> str:
    """``"bf16"`` where a training step with mixed precision is faster on this machine, else ``"32"``.

    ``task`` and ``batch`` are on the device; the task is left as it is.
    """
    return "bf16" if seconds_per_step(task, batch, "bf16") * GAIN < seconds_per_step(task, batch, "32") else "32"


def seconds_per_step(task: Task, batch: LensBatch, precision: str) -> float:
    """Seconds for one forward and backward pass, the best of a few after one to warm up."""
    task, device = copy.deepcopy(task).train(), batch.images.device
    times = []
    for _ in range(1 + REPEATS):
        _wait_for(device)
        start = time.perf_counter()
        with autocast(precision, device):
            loss = task.loss(batch)["loss"]
        loss.backward()
        _wait_for(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

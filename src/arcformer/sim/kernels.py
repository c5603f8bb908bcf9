"""Kernels: functions that a compiler turns into one pass over the pixels."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache, wraps
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["at_a_time", "can_compile", "kernel", "pieces"]

R = TypeVar("R")

IN_CACHE = 400_000  # pixels, of which a CPU's cache holds the few arrays that a step makes


def at_a_time(images: int, pixels: int, device: torch.device) -> int:
    """How many of ``images`` of so many pixels to work on at a time: all, but on a CPU no more than its cache holds."""
    return max(1, min(images, max(2, IN_CACHE // pixels)) if device.type == "cpu" else images)


def pieces(rows: Tensor, few: int) -> list[Tensor]:
    """Rows (N,) in pieces of ``few``, at least two, and none of one unless there is but one: see ``kernel``."""
    if len(rows) > few and len(rows) % few == 1:
        *others, last = pieces(rows[:-1], few)
        return [*others, torch.cat([last, rows[-1:]])]
    return list(rows.split(few))


def kernel(function: Callable[..., R]) -> Callable[..., R]:
    """A function of tensors, compiled when it is first called where that is possible; once for all sizes.

    The compiled function takes a further keyword: ``compiled`` True or False insists, None asks ``can_compile``. Both
    ways give the same numbers but for rounding; compiling takes some seconds, once in a process.

    Give it no plain floats, for it is compiled anew for each, and no batch of one, for that is another function.
    """

    @cache
    def fast() -> Callable[..., R]:
        # without torch's pool of compiling processes: a process that was forked waits for it for ever
        return torch.compile(function, dynamic=True, options={"compile_threads": 1})

    @wraps(function)
    def run(*tensors: object, compiled: bool | None = None) -> R:
        return (fast() if (can_compile() if compiled is None else compiled) else function)(*tensors)

    return run


def can_compile() -> bool:
    """Whether torch can compile the rendering here: a C++ compiler is at hand and nobody switched it off."""
    if os.environ.get("ARCFORMER_EAGER"):
        return False
    return _on_path(os.environ.get("CXX", "g++"), os.environ.get("PATH"))


@cache
def _on_path(program: str, path: str | None) -> bool:
    return shutil.which(program, path=path) is not None

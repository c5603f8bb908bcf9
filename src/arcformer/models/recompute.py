"""Memory for time (activation checkpointing; Chen et al. 2016, arXiv 1604.06174): what a block computes is not kept.

In training, only the input of each block is kept, and the backward pass computes the rest again, with the random
numbers that it had. A step takes the time of a second forward pass; features, gradients and the names in the state are
what they were.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from arcformer.errors import InputError
from arcformer.models.backbone import Backbone

__all__ = ["recompute"]


def recompute(backbone: Backbone) -> None:
    """Let the blocks of ``backbone``, as it names them, be computed again in the backward pass, in place.

    Raises:
        InputError: for a backbone without blocks.
    """
    blocks = backbone.recomputable()
    if not blocks:
        raise InputError(
            f"{type(backbone).__name__} names no blocks that could be computed again; let its recomputable() name "
            "some, or leave training.recompute out"
        )
    for block in blocks:
        block.__class__ = _recomputed(type(block))


@functools.cache
def _recomputed(cls: type[nn.Module]) -> type[nn.Module]:
    """``cls`` with another call: a class and not a wrapped method, as copies of a block (an average) are blocks too."""

    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        run = functools.partial(cls.__call__, self)
        if not (self.training and torch.is_grad_enabled()):
            return run(*args, **kwargs)
        if torch.compiler.is_compiling():  # there, buffers are moved by the forward pass alone
            return checkpoint(run, *args, use_reentrant=False, **kwargs)
        return checkpoint(run, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), _still(self)), **kwargs)

    return type(cls.__name__, (cls,), {"__call__": call, "__module__": cls.__module__, "__doc__": cls.__doc__})


@contextmanager
def _still(block: nn.Module) -> Iterator[None]:
    """What a block counts in buffers, as the running statistics of norms, it counts in the forward pass alone."""
    before = [(buffer, buffer.detach().clone()) for buffer in block.buffers()]
    try:
        yield
    finally:  # torch leaves a block, by an exception, when it has what it needs
        for buffer, value in before:
            buffer.data.copy_(value)  # past autograd, for which this would be a change of what it has saved

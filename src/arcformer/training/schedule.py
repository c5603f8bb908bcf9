"""What moves the weights: AdamW, and a rate that warms up and falls as half a cosine."""

from __future__ import annotations

import math

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from arcformer.training.recipe import TrainingSection

__all__ = ["optimizer_and_schedule", "rate_factor"]


def rate_factor(step: int, steps: int, warmup: float) -> float:
    """The rate of step ``step`` (from 0) of ``steps`` as a share of the highest one.

    Linear over the first ``warmup * steps`` steps, then (1 + cos) / 2 down to 0 at the end (Loshchilov & Hutter 2017).
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, steps - rising))))


def optimizer_and_schedule(module: nn.Module, training: TrainingSection) -> tuple[AdamW, LambdaLR]:
    """AdamW on the parameters that take a gradient; those of one dimension (biases, norms) do not decay."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = AdamW([group for group in groups if group["params"]], training.rate, training.betas, fused=True)
    return optimizer, LambdaLR(optimizer, lambda step: rate_factor(step, training.steps, training.warmup))

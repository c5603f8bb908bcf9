"""Standardisation that can be undone: numbers of any unit as numbers of order one, for tasks that learn them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["FIXED", "Standard"]

FIXED = 1e-4
"""What varies by less than this share of its mean is a constant."""


class Standard(nn.Module):
    """(v - mean) / std of each of P numbers. Mean and standard deviation are buffers, saved with the weights.

    Args:
        count: P.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, count: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("std", torch.ones(count))

    @torch.no_grad()
    def fit(self, values: Tensor) -> Tensor:
        """Take both from values (N, P), of which some may be NaN; gives (P,), whether a number varies at all.

        One that does not keeps a standard deviation of 1.
        """
        values = values.double()
        there = values.isfinite()
        count = there.sum(0).clamp_min(1)
        mean = values.nan_to_num().sum(0) / count
        std = (torch.where(there, values - mean, 0.0).square().sum(0) / count).sqrt()
        varies = std > FIXED * mean.abs() + 1e-12
        self.mean.copy_(mean)
        self.std.copy_(torch.where(varies, std, 1.0))
        return varies

    def scaled(self, values: Tensor) -> Tensor:
        """Values (..., P) as numbers of order one, float32."""
        return ((values - self.mean) / self.std).float()

    def physical(self, scaled: Tensor) -> Tensor:
        """Scaled values (..., P) in their own units."""
        return self.mean + self.std * scaled

    def log_volume(self) -> Tensor:
        """By how much a log density of physical values is less than that of scaled ones, nats."""
        return self.std.log().sum()

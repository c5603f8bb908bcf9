"""The mean negative log likelihood of the true class, as a torchmetrics metric."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["NegativeLogLikelihood"]


class NegativeLogLikelihood(Metric):
    """Mean of -log p(label), nats. ``update`` takes probabilities (B, K) and labels (B,)."""

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        true = preds.gather(1, target[:, None])[:, 0]
        self.total += -true.clamp_min(torch.finfo(torch.float32).tiny).log().sum()
        self.images += len(target)

    def compute(self) -> Tensor:
        return self.total / self.images

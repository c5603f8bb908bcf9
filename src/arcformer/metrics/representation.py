"""Have features collapsed? Their spread and their effective rank, without labels, as torchmetrics metrics.

Features z (B, D) of images, each divided by its length. Collapse, the failure of self-supervised training, is all
images at one place (spread 0, rank 1) or in few directions (a low rank).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

__all__ = ["EffectiveRank", "FeatureSpread"]


class Moments(Metric):
    """Sums over images of z and of z z^T, from which all else follows; ``update`` takes features (B, D).

    Args:
        dim: D.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    count: Tensor
    first: Tensor
    second: Tensor

    def __init__(self, dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("first", torch.zeros(dim, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("second", torch.zeros(dim, dim, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, features: Tensor) -> None:
        z = F.normalize(features.double(), dim=1)
        self.count += len(z)
        self.first += z.sum(0)
        self.second += z.T @ z


class FeatureSpread(Moments):
    """sqrt(D) times the mean over directions of the standard deviation: 1 for features that point anywhere, 0 for one.

    As Chen & He 2020 (SimSiam, arXiv 2011.10566, section 4.1) watch collapse.
    """

    def compute(self) -> Tensor:
        mean = self.first / self.count
        variance = (self.second.diagonal() / self.count - mean.square()).clamp_min(0)
        return (variance.sqrt().mean() * len(mean) ** 0.5).float()


class EffectiveRank(Moments):
    """exp of the entropy of the singular values of z, from 1 to D.

    RankMe (Garrido et al. 2022, arXiv 2210.02885, eq. 1), of features of unit length.
    NaN for fewer than two images.
    """

    def compute(self) -> Tensor:
        singular = torch.linalg.eigvalsh(self.second).clamp_min(0).sqrt()
        share = singular / singular.sum()
        rank = torch.special.entr(share).sum().exp()
        return torch.where(self.count < 2, torch.nan, rank).float()

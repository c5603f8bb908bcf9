"""Tasks whose posterior is exact: of a Gaussian parameter that is measured with Gaussian errors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.tasks import Prediction


@dataclass(frozen=True)
class Posterior(Prediction):
    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor
    samples: Tensor
    features: Tensor


class Exact:
    """The mean of an image's pixels is its parameter with an error ``noise``; the prior is N(0, ``width``^2), or flat.

    With ``correlated`` there is a second parameter, whose posterior is that of the first, and the correlation of both.
    """

    def __init__(self, noise: float, width: float = torch.inf, correlated: float | None = None):
        self.noise, self.correlated = noise, correlated
        self.shrink = 1 / (1 + (noise / width) ** 2)
        self.sigma = noise * self.shrink**0.5
        self.targets = ("theta",) if correlated is None else ("phi", "theta")

    @property
    def covariance(self) -> Tensor:
        p = len(self.targets)
        correlation = torch.full((p, p), self.correlated or 0.0, dtype=torch.float64).fill_diagonal_(1.0)
        return correlation * self.sigma**2

    def predict(self, batch: LensBatch) -> Posterior:
        mean = self.shrink * batch.images.mean((1, 2, 3)).double()[:, None].expand(-1, len(self.targets))
        std = torch.full_like(mean, self.sigma)
        samples = mean[:, None].repeat(1, 8, 1)
        return Posterior(mean, std, mean - std, mean + std, samples, mean[:, None].clone())

    def posterior(self, batch: LensBatch, samples: int) -> Tensor:
        noise = torch.randn(samples, len(self.targets), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return self.predict(batch).mean[:, None] + noise @ torch.linalg.cholesky(self.covariance).T

    def log_prob(self, prediction: Posterior, values: Tensor) -> Tensor:
        normal = torch.distributions.MultivariateNormal(torch.zeros(len(self.targets)).double(), self.covariance)
        return normal.log_prob(values - prediction.features[:, 0])


def measured(theta: Tensor, noise: float, seed: int) -> LensBatch:
    """Images of one pixel with parameters (B,)."""
    error = torch.randn(theta.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return LensBatch((theta + noise * error)[:, None, None, None], ids=tuple(f"{seed}/{i}" for i in range(len(theta))))

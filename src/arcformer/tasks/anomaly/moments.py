"""Mean and covariance of vectors that come in batches, in memory that does not grow with their number."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Moments"]


class Moments:
    """Sums over N vectors (N, D), float64, from which mean and covariance follow; (D + 3) D numbers are kept.

    They are sums about the first vector, so that numbers far from zero lose no digits.
    """

    def __init__(self) -> None:
        self.count = 0

    def add(self, x: Tensor) -> None:
        """Take in vectors (n, D)."""
        x = x.double()
        if not self.count:
            dim = x.shape[1]
            self.zero = x[0].clone()
            self.sums = [x.new_zeros(shape) for shape in ((), (), (dim,), (dim,), (dim, dim))]
        x = x - self.zero
        square = x.square().sum(1)
        self.count += len(x)
        for kept, new in zip(
            self.sums, (square.square().sum(), square.sum(), square @ x, x.sum(0), x.T @ x), strict=True
        ):
            kept += new

    @property
    def mean(self) -> Tensor:
        """(D,)."""
        return self.zero + self.sums[3] / self.count

    @property
    def covariance(self) -> Tensor:
        """(D, D), with N in the denominator."""
        mean = self.sums[3] / self.count
        return self.sums[4] / self.count - mean.outer(mean)

    def shrunk(self) -> Tensor:
        """The covariance (D, D), drawn towards a multiple of the unit matrix (Ledoit & Wolf 2004, lemmas 3.2 to 3.4).

        By as much as minimises the expected squared error: (1 - s) S + s mu 1 with S the covariance, mu the mean of its
        diagonal, and s = b / d, d = ||S - mu 1||^2 and b = min(d, sum ||x x^T - S||^2 / N^2).
        """
        fourth, second, third, first, product = self.sums
        count, mean, covariance = self.count, first / self.count, self.covariance
        norm = mean @ mean  # |x - m|^4 = (a - 2 b + c)^2 with a = x x, b = x m, c = m m
        fourth = (
            fourth + 4 * mean @ product @ mean + count * norm**2 - 4 * third @ mean + 2 * second * norm
            - 4 * norm * count * norm
        )  # fmt: skip
        unit = torch.eye(len(mean), dtype=mean.dtype, device=mean.device)
        level = covariance.trace() / len(mean)
        apart = (covariance - level * unit).square().sum()
        wrong = (fourth / count - covariance.square().sum()) / count
        share = (wrong.clamp_min(0) / apart).clamp(0, 1) if apart > 0 else apart.new_ones(())
        return (1 - share) * covariance + share * level * unit

"""What regression says of images, and the even normal numbers that its samples are made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from arcformer.metrics import CENTRAL, tails
from arcformer.tasks.base import Prediction

__all__ = ["Posterior", "even_normal"]


@dataclass(frozen=True)
class Posterior(Prediction):
    """A posterior for each of B images, of P targets in their own units.

    Attributes:
        mean, std: (B, P).
        low, high: (B, P), ends of the central 68 %; beyond each lie 16 % of the probability.
        samples: (B, S, P), equally likely; each row of S is of all targets together.
        features: (B, V, F), what the head saw of each of V views, which is all that the density depends on.
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor
    samples: Tensor
    features: Tensor

    @classmethod
    def of(cls, samples: Tensor, features: Tensor) -> Posterior:
        """The posterior that samples (B, S, P) and features (B, V, F) are of."""
        low, high = samples.quantile(samples.new_tensor(tails(CENTRAL)), dim=1)
        return cls(samples.mean(1), samples.std(1), low, high, samples, features)


def even_normal(count: int, dimensions: int, device: torch.device) -> Tensor:
    """``count`` normal numbers in each of so many dimensions, (count, dimensions), the same ones at every call.

    They are spread more evenly than random ones (Sobol 1967, scrambled), so that a few hundred give means and
    quantiles to a few thousandths of the width. Of a power of two, every run of a power of two is as even.
    """
    uniform = SobolEngine(dimensions, scramble=True, seed=0).draw(count, dtype=torch.float64)
    edge = 2.0**-31  # half of the engine's step, so that no number is infinite
    return torch.special.ndtri(uniform.clamp(edge, 1 - edge)).float().to(device)

"""Recalibration: by which factors widths of posteriors are to be multiplied, as validation images tell."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from arcformer.tasks.regress.heads import Head

__all__ = ["fit_spread", "mixed"]

WIDEST = 20.0
"""Factors are sought between this and its inverse."""


def fit_spread(head: Head, features: Tensor, values: Tensor) -> None:
    """Set the spread of ``head``, a factor for each target, to that which makes ``values`` most likely.

    Posteriors are stretched about the place of their Gaussian. As the temperature of a classifier (Guo et al. 2017,
    arXiv 1706.04599) it is a handful of numbers, that cannot learn the validation images by heart.

    Args:
        head: whose spread is set.
        features: (N, V, F) of validation images, in V views.
        values: (N, V, P), their standardised targets, turned as the views are.
    """

    def nll(logarithms: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        spread = torch.tensor(logarithms, dtype=features.dtype, device=features.device).requires_grad_()
        with torch.enable_grad():
            found = -mixed(head, features, values, spread.exp()).mean()
            (slope,) = torch.autograd.grad(found, spread)
        return found.item(), slope.double().cpu().numpy()

    bounds = [(-math.log(WIDEST), math.log(WIDEST))] * head.targets
    best = minimize(nll, np.zeros(head.targets), jac=True, bounds=bounds, method="L-BFGS-B", tol=1e-7)
    with torch.no_grad():
        head.spread.copy_(torch.tensor(best.x).exp())


def mixed(head: Head, features: Tensor, values: Tensor, spread: Tensor | None = None) -> Tensor:
    """log p (N,) of the equal mixture of the posteriors of V views; features (N, V, F), values (N, V, P)."""
    found = head.log_prob(features.flatten(0, 1), values.flatten(0, 1), spread).view(features.shape[:2])
    return found.logsumexp(1) - math.log(features.shape[1])

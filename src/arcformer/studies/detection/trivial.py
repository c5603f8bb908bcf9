"""The leak audit without labels: what the trivial features of images say of how unusual they are.

Two models of the run's own first training images, the same that the statistic was shown: the Mahalanobis distance with
a shrunk covariance (Ledoit and Wolf 2004, J. Multivar. Anal. 88, 365), and an isolation forest (Liu et al. 2008). What
a statistic finds is read as what it adds to these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import IsolationForest
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor

from arcformer.errors import InputError
from arcformer.studies.leaks import trivial_features
from arcformer.studies.training_images import FITTED_ON, first_training_images

if TYPE_CHECKING:
    from arcformer.training import Run

__all__ = ["METHODS", "TrivialScores", "TrivialStatistics", "fit_trivial", "trivial_of"]

METHODS = {"mahalanobis": "Mahalanobis distance", "forest": "isolation forest"}
"""How unusual features are, by name and in words."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TrivialScores:
    """Scores (N,) by ``METHODS``, the higher the more unusual; and how many training images they are fitted to."""

    scores: dict[str, Array]
    images: int


@dataclass(frozen=True)
class TrivialStatistics:
    """Fitted models from features (N, F) to scores (N,), by ``METHODS``."""

    methods: dict[str, Callable[[Array], Array]]
    images: int

    def __call__(self, features: Tensor) -> TrivialScores:
        x = features.cpu().double().numpy()
        with threadpool_limits(1, "blas"):
            return TrivialScores({name: score(x) for name, score in self.methods.items()}, self.images)


def fit_trivial(features: Tensor, *, seed: int = 0) -> TrivialStatistics:
    """Fit both models to the features (N, F) of training images.

    Args:
        seed: of the trees.

    Raises:
        InputError: fewer than ten images.
    """
    x = features.cpu().double().numpy()
    if len(x) < 10:
        raise InputError(f"trivial statistics need at least ten training images, there are {len(x)}")
    scaler = StandardScaler().fit(x)
    with threadpool_limits(1, "blas"):
        shrunk = LedoitWolf().fit(scaler.transform(x))
        forest = IsolationForest(random_state=seed).fit(scaler.transform(x))
    return TrivialStatistics(
        {
            "mahalanobis": lambda x: np.sqrt(shrunk.mahalanobis(scaler.transform(x))),
            "forest": lambda x: -forest.score_samples(scaler.transform(x)),
        },
        len(x),
    )


_last: tuple[Run, int, TrivialStatistics] | None = None


def trivial_of(run: Run, *, seed: int = 0) -> TrivialStatistics:
    """Those of a run, fitted to the first of its training images; those of the last run are remembered.

    Raises:
        InputError: training images that are not there any more, or too few.
    """
    global _last
    if _last is None or _last[0] is not run or _last[1] != seed:
        features = torch.cat([trivial_features(seen).cpu() for _, seen in first_training_images(run)])
        _last = run, seed, fit_trivial(features[:FITTED_ON], seed=seed)
    return _last[2]

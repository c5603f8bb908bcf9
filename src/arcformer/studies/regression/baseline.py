"""What needs no network: regression of the targets on the trivial features of the leak audit, and their prior alone.

Both models are fitted on training images of the run, the same that the network was shown; nothing of the test images
is used. A network's result is read as what it adds to them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.metrics import Estimate, bootstrap
from arcformer.studies.leaks import trivial_features
from arcformer.studies.training_images import FITTED_ON, first_training_images

if TYPE_CHECKING:
    from arcformer.training import Run

__all__ = ["Baseline", "Models", "compared", "fit_models", "models_of"]

STRENGTHS = tuple(10.0**power for power in range(-3, 5))
"""Of the ridge; chosen by leaving out one training image after another."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Baseline:
    """What models without a network say of N images, (N, P) each.

    Attributes:
        linear: of a ridge regression.
        boosted: of gradient-boosted trees.
        prior: the median of the training images' targets, the same for every image.
        images: how many training images the models were fitted on.
    """

    linear: Array
    boosted: Array
    prior: Array
    images: int


@dataclass(frozen=True)
class Models:
    """Models from trivial features (N, F) to targets (N, P)."""

    linear: Callable[[Array], Array]
    boosted: Callable[[Array], Array]
    prior: Array
    images: int

    def predict(self, features: Tensor) -> Baseline:
        x = features.cpu().double().numpy()
        with threadpool_limits(1, "blas"):
            return Baseline(self.linear(x), self.boosted(x), np.tile(self.prior, (len(x), 1)), self.images)


def fit_models(features: Tensor, targets: Tensor, *, seed: int = 0) -> Models:
    """Fit both models.

    Args:
        features: (N, F), as of ``trivial_features``.
        targets: (N, P).
        seed: of the trees.

    Raises:
        InputError: fewer than ten images.
    """
    x, y = features.cpu().double().numpy(), targets.cpu().double().numpy()
    if len(x) < 10:
        raise InputError(f"a baseline needs at least ten training images, there are {len(x)}")
    with threadpool_limits(1, "blas"):
        linear = make_pipeline(StandardScaler(), RidgeCV(STRENGTHS)).fit(x, y)
        trees = [HistGradientBoostingRegressor(random_state=seed, max_leaf_nodes=15).fit(x, column) for column in y.T]
    return Models(
        linear=lambda x: np.asarray(linear.predict(x)).reshape(len(x), -1),
        boosted=lambda x: np.stack([tree.predict(x) for tree in trees], axis=1),
        prior=np.median(y, axis=0),
        images=len(x),
    )


_last: tuple[Run, int, Models] | None = None


def models_of(run: Run, targets_of: Callable[[LensBatch], Tensor], *, seed: int = 0) -> Models:
    """The models of a run, fitted on the first of its training images; those of the last run are remembered.

    Args:
        targets_of: from a batch to the targets (B, P) of the run.

    Raises:
        InputError: training images that are not there any more, or too few.
    """
    global _last
    if _last is None or _last[0] is not run or _last[1] != seed:
        _last = run, seed, fit_models(*_training_images(run, targets_of), seed=seed)
    return _last[2]


def compared(predicted: Array, baseline: Baseline, truth: Array, names: list[str], seed: int) -> dict[str, Estimate]:
    """Mean absolute errors of the baseline, and by how much that of the network is lower.

    ``linear_mae_NAME``, ``boosted_mae_NAME``, ``prior_mae_NAME``; for ``below_linear_mae_NAME`` and so on, images are
    drawn in pairs: what is hard for both cancels.
    """
    own = np.abs(predicted - truth)
    others = {what: np.abs(getattr(baseline, what) - truth) for what in ("linear", "boosted", "prior")}
    columns = np.hstack([own, *others.values()])

    def metrics(weights: Array) -> dict[str, Array]:
        averages = weights @ columns / weights.sum(1, keepdims=True)
        network, *rest = np.split(averages, len(others) + 1, axis=1)
        found = {}
        for what, values in zip(others, rest, strict=True):
            for k, name in enumerate(names):
                found |= {
                    f"{what}_mae_{name}": values[:, k],
                    f"below_{what}_mae_{name}": values[:, k] - network[:, k],
                }
        return found

    return bootstrap(metrics, len(truth), seed=seed)


def _training_images(run: Run, targets_of: Callable[[LensBatch], Tensor]) -> tuple[Tensor, Tensor]:
    """Features and targets of the first training images of a run."""
    found = [(trivial_features(seen).cpu(), targets_of(batch).cpu()) for batch, seen in first_training_images(run)]
    features, targets = (torch.cat(columns)[:FITTED_ON] for columns in zip(*found, strict=True))
    return features, targets

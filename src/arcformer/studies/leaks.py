"""The leak audit: how well do trivial features tell the classes apart, without any look at substructure?

In the published DeepLense sets the mass of the substructure is added to the halo, so that radius and flux of the ring
give the class away. A network's result is read as what it adds to that. The audit is a lower bound: other features may
leak more, and so do these where pixels are binned, as more of the light then stands out of the noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.data.sky import sky_rms
from arcformer.errors import InputError
from arcformer.metrics import Estimate, classification_report

__all__ = ["FEATURES", "LeakAudit", "audit", "trivial_features"]

FEATURES = (
    "log10 flux",
    "log10 peak",
    "mean radius",
    "ring radius",
    "ring width",
    "sky level",
    "log10 sky noise",
    "concentration",
    "centroid offset",
)
"""What ``trivial_features`` measures: fluxes in the unit of the images, lengths in arcsec."""

DETECTION = 3.0
"""A pixel counts as light where it stands this many times the sky noise above the sky level."""

BORDER = 0.05
"""Width of the frame that the sky level is taken from, as a share of the shorter side."""

SMALLEST = 8
"""Pixels on the shorter side below which there is no ring to measure."""

FAINTEST = 1e-9
"""Noise as a share of the peak below which an image counts as free of noise."""

FOLDS = 5


@dataclass(frozen=True)
class LeakAudit:
    """What trivial features reach on N images of K classes, each predicted by a model that has not seen it.

    Attributes:
        linear: macro one-vs-rest AUC of a logistic regression: the headline.
        boosted: the same of gradient-boosted trees.
        per_class: AUC of the logistic regression, each class against the rest.
        pairs: for each pair of classes the AUC of the logistic regression between these two alone.
        labels: (N,), index into ``classes``.
        probabilities: (N, K), of the logistic regression.
        classes: names of the classes.
        folds: of the cross-validation.
        seed: of the folds and of the trees.
    """

    linear: Estimate
    boosted: Estimate
    per_class: dict[str, Estimate]
    pairs: dict[tuple[str, str], Estimate]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    classes: tuple[str, ...]
    folds: int
    seed: int


def trivial_features(batch: LensBatch) -> Tensor:
    """The ``FEATURES`` of every image, (B, F) float64: what can be seen without looking at the shape of an arc.

    Radii are about the middle of the image, where the lens is. All are the same for an image that is turned or
    mirrored. Channels are added up; masked pixels do not count. Where no light is found, radii are zero.

    Args:
        batch: images in physical units; without a pixel scale, lengths are in pixels.

    Raises:
        InputError: images of less than 8 pixels on a side.
    """
    height, width = batch.images.shape[-2:]
    if min(height, width) < SMALLEST:
        raise InputError(f"images of {height} x {width} pixels: the leak audit needs at least {SMALLEST} on a side")
    image, bad = _white(batch)
    x, y = _grid(height, width, image)
    radius = torch.hypot(x, y)
    frame = max(2, round(BORDER * min(height, width)))
    border = (x.abs() > (width - 1) / 2 - frame) | (y.abs() > (height - 1) / 2 - frame)

    level = image.masked_fill(bad, torch.nan)[:, border].nanmedian(1).values.nan_to_num()
    noise = sky_rms(image[:, None], bad[:, None])[:, 0].nan_to_num()
    excess = (image - level[:, None, None]).masked_fill(bad, 0.0)
    light = torch.where(excess > DETECTION * noise[:, None, None], excess, 0.0)

    flux, peak = light.sum((1, 2)), excess.amax((1, 2))
    share = light / _positive(flux)[:, None, None]  # of the flux, in each pixel
    moments = share.flatten(1) @ torch.stack([radius, radius.square(), x, y]).flatten(1).T
    mean_radius, mean_square, centroid_x, centroid_y = moments.unbind(1)
    width_of_ring = (mean_square - mean_radius.square()).clamp_min(0).sqrt()
    scale = torch.ones_like(flux) if batch.pixel_scale is None else batch.pixel_scale.to(flux)
    return torch.stack(
        [
            _positive(flux).log10(),
            _positive(peak).log10(),
            mean_radius * scale,
            _ring_radius(excess, ~bad, radius) * scale,
            width_of_ring * scale,
            level,
            _positive(torch.maximum(noise, FAINTEST * peak)).log10(),
            _positive(share.square().sum((1, 2))).log10(),  # minus log of the number of pixels that share the light
            torch.hypot(centroid_x, centroid_y) * scale,
        ],
        dim=1,
    )


def audit(features: Tensor, labels: Tensor, classes: tuple[str, ...], *, seed: int = 0) -> LeakAudit:
    """Classify by trivial features alone, by cross-validation within one set of images.

    Args:
        features: (N, F), as of ``trivial_features``.
        labels: (N,), index into ``classes``.
        classes: names of the classes.
        seed: of the folds and of the trees.

    Raises:
        InputError: fewer than two classes, or than two images of a class.
    """
    x, y = features.cpu().numpy(), labels.cpu().numpy()
    counts = np.bincount(y, minlength=len(classes))
    if len(classes) < 2 or counts.min() < 2:
        found = ", ".join(f"{count} of {name}" for name, count in zip(classes, counts, strict=True))
        raise InputError(f"a leak audit needs at least two classes and two images of each; there are {found}")
    folds = StratifiedKFold(min(FOLDS, int(counts.min())), shuffle=True, random_state=seed)
    linear = _predicted(_logistic(), x, y, folds)
    boosted = _predicted(HistGradientBoostingClassifier(random_state=seed, max_leaf_nodes=15), x, y, folds)
    pairs = {}
    for pair in combinations(range(len(classes)), 2):
        rows = np.isin(y, pair)
        second = (y[rows] == pair[1]).astype(np.int64)
        names = tuple(classes[k] for k in pair)
        found = _predicted(_logistic(), x[rows], second, folds)
        pairs[names] = classification_report(found, second, names, seed=seed).auc
    report = classification_report(linear, y, classes, seed=seed)
    return LeakAudit(
        linear=report.auc,
        boosted=classification_report(boosted, y, classes, seed=seed).auc,
        per_class={name: found.auc for name, found in report.classes.items()},
        pairs=pairs,
        labels=y,
        probabilities=linear,
        classes=tuple(classes),
        folds=folds.get_n_splits(),
        seed=seed,
    )


def _white(batch: LensBatch) -> tuple[Tensor, Tensor]:
    """The channels added up, (B, H, W) float64, and where any of them is masked or not a number."""
    bad = ~batch.images.isfinite()
    if batch.mask is not None:
        bad = bad | batch.mask
    return batch.images.double().masked_fill(bad, 0.0).sum(1), bad.any(1)


def _grid(height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """x and y of every pixel from the middle of the image, (H, W), pixels."""
    y = torch.arange(height, dtype=like.dtype, device=like.device) - (height - 1) / 2
    x = torch.arange(width, dtype=like.dtype, device=like.device) - (width - 1) / 2
    return x.expand(height, width), y[:, None].expand(height, width)


def _ring_radius(excess: Tensor, good: Tensor, radius: Tensor) -> Tensor:
    """Where the radial profile is highest, (B,), pixels: the vertex of a parabola through its three highest bins."""
    ring = radius.long().flatten()  # bins of one pixel
    zeros = excess.new_zeros(len(excess), int(ring.max()) + 1)
    total = zeros.index_add(1, ring, excess.flatten(1))
    count = zeros.index_add(1, ring, good.flatten(1).to(excess))
    whole = min(excess.shape[1:]) // 2  # rings that lie within the image
    profile = (total / count.clamp_min(1))[:, :whole]
    top = profile.argmax(1).clamp(1, whole - 2)
    before, at, after = (profile.gather(1, (top + step)[:, None])[:, 0] for step in (-1, 0, 1))
    curvature = before - 2 * at + after
    vertex = torch.where(curvature < 0, (before - after) / 2 / curvature, 0.0).clamp(-0.5, 0.5)
    found = excess.amax((1, 2)) > 0
    return torch.where(found, top + 0.5 + vertex, 0.0)


def _positive(values: Tensor) -> Tensor:
    """Values fit for a logarithm and a denominator, whatever the unit: changed only where there is no light."""
    return values.clamp_min(1e-30)


def _logistic() -> BaseEstimator:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _predicted(model: BaseEstimator, x: NDArray, y: NDArray, folds: StratifiedKFold) -> NDArray[np.float64]:
    """Probabilities (N, K) for every image, from the fold in which it was left out."""
    with threadpool_limits(1, "blas"):  # the matrices are tiny: threads would wait for each other and do nothing else
        return np.asarray(cross_val_predict(model, x, y, cv=folds, method="predict_proba"))

"""What labels a simple classifier could read off features: online probes, as torchmetrics metrics.

They are fitted to the features of the very images that they are asked about, each image left out in its turn, so that
a validation set is enough. For watching a pretraining: nothing is trained on their labels. N images, features (N, D),
K classes.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from arcformer.metrics.classification import weighted_auc

__all__ = ["LinearProbeAUROC", "LinearProbeAccuracy", "NeighbourAccuracy", "leave_one_out"]

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of the ridge, in mean variances of the features."""


class Probe(Metric):
    """Features and labels of the first ``most`` images of each process; ``update`` takes (B, D) and (B,) or None.

    Args:
        classes: K.
        most: how many images are kept at most.

    NaN without labels of two classes.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    features: list[Tensor]
    labels: list[Tensor]

    def __init__(self, classes: int, *, most: int = 4096, **kwargs: Any):
        super().__init__(**kwargs)
        self.classes, self.most = classes, most
        self.add_state("features", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, features: Tensor, labels: Tensor | None) -> None:
        room = self.most - sum(len(kept) for kept in self.labels)
        if labels is not None and room > 0:
            self.features.append(features[:room].float())
            self.labels.append(labels[:room])

    def compute(self) -> Tensor:
        if not len(self.labels):
            return torch.tensor(torch.nan, device=self.device)
        x, y = dim_zero_cat(self.features), dim_zero_cat(self.labels)
        if len(y.unique()) < 2:
            return torch.tensor(torch.nan, device=self.device)
        return self.found(x, y).float()

    @abstractmethod
    def found(self, x: Tensor, y: Tensor) -> Tensor:
        """The value for features (N, D) and labels (N,) of two classes at least."""


class NeighbourAccuracy(Probe):
    """Accuracy of the vote of the ``neighbours`` nearest other images by the angle between features.

    Votes weigh exp(cosine / 0.07), as of Wu et al. 2018 (arXiv 1805.01978, section 3.4).
    """

    def __init__(self, classes: int, *, neighbours: int = 20, **kwargs: Any):
        super().__init__(classes, **kwargs)
        self.neighbours = neighbours

    def found(self, x: Tensor, y: Tensor) -> Tensor:
        z, right = F.normalize(x, dim=1), x.new_zeros(())
        votes = F.one_hot(y, self.classes).to(z)
        for start in range(0, len(z), 1024):
            cosine = z[start : start + 1024] @ z.T
            rows = torch.arange(len(cosine), device=z.device)
            cosine[rows, start + rows] = -torch.inf  # not itself
            near, who = cosine.topk(min(self.neighbours, len(z) - 1), dim=1)
            weight = ((near - near[:, :1]) / 0.07).exp()
            vote = (weight[..., None] * votes[who]).sum(1)
            right += (vote.argmax(1) == y[start : start + 1024]).sum()
        return right / len(z)


class LinearProbeAccuracy(Probe):
    """Accuracy of a linear classifier, each image left out in its turn; see ``leave_one_out``."""

    def found(self, x: Tensor, y: Tensor) -> Tensor:
        return (leave_one_out(x, y, self.classes).argmax(1) == y).double().mean()


class LinearProbeAUROC(Probe):
    """Macro one-vs-rest AUC of a linear classifier, each image left out in its turn, over the classes that are there.

    See ``leave_one_out``.
    """

    def found(self, x: Tensor, y: Tensor) -> Tensor:
        scores, labels = leave_one_out(x, y, self.classes).cpu().numpy(), y.cpu().numpy()
        once = np.ones((1, len(labels)))
        areas = [weighted_auc(scores[:, k], labels == k, once)[0] for k in np.unique(labels)]
        return torch.tensor(np.mean(areas), device=x.device)


def leave_one_out(x: Tensor, y: Tensor, classes: int) -> Tensor:
    """Scores (N, K) of each image by ridge regression of the one-hot labels on the features of all others.

    In closed form: without image i its score is (f_i - h_i y_i) / (1 - h_i), with f_i the score with it and h the
    diagonal of the hat matrix (Allen 1974, PRESS). The mean is that of all images: one without i would be lower for its
    class, and worthless features would score below chance. The strength of the ridge is the one of ``STRENGTHS`` with
    the least squares of what is missed. float64.
    """
    x = x.double()
    x = x - x.mean(0)
    target = F.one_hot(y, classes).to(x)
    variance, axes = torch.linalg.eigh(x.T @ x)
    variance, along = variance.clamp_min(0), x @ axes
    unit = variance.mean().clamp_min(torch.finfo(x.dtype).tiny)
    best, least = target, math.inf
    for strength in STRENGTHS:
        shrunk = along / (variance + strength * unit)
        leverage = (along * shrunk).sum(1, keepdim=True)
        fitted = target.mean(0) + shrunk @ (along.T @ (target - target.mean(0)))
        without = (fitted - leverage * target) / (1 - leverage).clamp_min(1e-6)
        missed = float((target - without).square().sum())
        if missed < least:
            best, least = without, missed
    return best

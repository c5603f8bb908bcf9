"""What a backbone knows without being trained further: logistic regression on its frozen features.

Features are the mean over the cells of the last feature map, computed once, without augmentation, each scaled by its
mean and standard deviation over the training images. The strength of the regularisation is chosen by the validation
images alone; the test images are looked at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.data.source import BatchSource
from arcformer.errors import InputError
from arcformer.metrics import ClassificationReport, classification_report
from arcformer.models import Backbone
from arcformer.training.sources import open_sources, open_test

if TYPE_CHECKING:
    from arcformer.training import Run

__all__ = ["STRENGTHS", "Probe", "pooled", "probe"]

STRENGTHS = tuple(10.0**power for power in range(-4, 5))
"""Values of C that are tried."""


@dataclass(frozen=True)
class Probe:
    """The result of a probe.

    Attributes:
        report: AUC, accuracy and more on the test images, with 95 % intervals over these.
        labels: training images.
        strength: C, the inverse of the regularisation, that was chosen.
        tries: how many values of it were tried on the validation images.
    """

    report: ClassificationReport
    labels: int
    strength: float
    tries: int = len(STRENGTHS)


@torch.no_grad()
def pooled(backbone: Backbone, batch: LensBatch) -> Tensor:
    """(B, D) float32, the mean over the cells of the last feature map; images in the range of the transform."""
    return backbone.features(batch.images, batch.context)[-1].mean()


def probe(run: Run, *, labels: int, count: int = 3000, seed: int = 1000, subset_seed: int | None = None) -> Probe:
    """Probe a run of any task on images like those that it was trained on, on the device of its weights.

    Args:
        run: as ``arcformer.load`` gives it.
        labels: training images of each class; they are those of ``data.labels`` in a run with the same seed.
        count: simulated test images; of a folder, its test part is taken.
        seed: of the test images and of the intervals.
        subset_seed: which training images; None: those of the run's seed.

    Raises:
        InputError: images without classes, or a folder with fewer labels.
    """
    if len(run.classes) < 2:
        raise InputError(f"{run.folder}: a probe needs at least two classes, got {run.classes}")
    chosen = run.config.data.model_copy(update={"count": None, "labels": labels, "subset_seed": subset_seed})
    config = run.config.model_copy(update={"data": chosen})
    split = run.folder / "split.json"
    train, validation = open_sources(config, Path(split))
    run.task.eval()
    parts = [features(run, source) for source in (train, validation, open_test(config, split, count=count, seed=seed))]
    return fitted(parts, run.classes, seed)


def features(run: Run, source: BatchSource) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Features (N, D) and labels (N,) of all images of a finite source, on the CPU."""
    device = next(run.task.parameters()).device
    rows, labels = [], []
    for k in range(source.batches or 0):
        batch = source.batch(k)
        if batch.labels is None:
            raise InputError("a probe needs labelled images")
        rows.append(pooled(run.task.backbone, run.transform(batch.to(device))).cpu().double())
        labels.append(batch.labels.cpu())
    return torch.cat(rows).numpy(), torch.cat(labels).numpy()


def fitted(
    parts: list[tuple[NDArray[np.float64], NDArray[np.int64]]], classes: tuple[str, ...], seed: int = 0
) -> Probe:
    """The probe of features and labels of training, validation and test images.

    Raises:
        InputError: a class of which there is no training image.
    """
    (x, y), *others = parts
    if len(np.unique(y)) < len(classes):
        raise InputError(f"a probe needs training images of each of {len(classes)} classes")
    mean, std = x.mean(0), x.std(0)
    x, validation, test = ((f - mean) / np.where(std > 0, std, 1) for f in (x, *(f for f, _ in others)))
    models = [LogisticRegression(C=strength, max_iter=2000).fit(x, y) for strength in STRENGTHS]
    labels = range(len(classes))
    losses = [log_loss(others[0][1], model.predict_proba(validation), labels=labels) for model in models]
    best = int(np.argmin(losses))
    report = classification_report(models[best].predict_proba(test), others[1][1], classes, seed=seed)
    return Probe(report, len(y), STRENGTHS[best])

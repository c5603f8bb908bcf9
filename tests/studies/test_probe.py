"""Probes of frozen features: what is chosen by which images, and what comes out of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from arcformer.config import read
from arcformer.errors import InputError
from arcformer.studies.probe import STRENGTHS, features, fitted, pooled, probe
from arcformer.training import RunConfig, fit
from arcformer.training.sources import open_sources

CLASSES = ("no_sub", "cdm", "axion")


def clusters(count: int, seed: int, apart: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Three Gaussians in eight dimensions of very different scales."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    means = apart * np.eye(8)[:3]
    return (means[labels] + random.normal(size=(count, 8))) * 10.0 ** np.arange(-4, 4), labels


def test_it_is_logistic_regression_with_the_strength_that_validation_prefers() -> None:
    train, validation, test = clusters(60, 0), clusters(300, 1), clusters(300, 2)
    found = fitted([train, validation, test], CLASSES)
    models = {c: make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000)).fit(*train) for c in STRENGTHS}
    losses = {
        c: -np.log(model.predict_proba(validation[0])[np.arange(300), validation[1]]).mean()
        for c, model in models.items()
    }
    assert found.strength == min(losses, key=lambda c: losses[c])
    assert found.tries == len(STRENGTHS) == 9
    assert found.labels == 60
    assert found.report.accuracy.value == pytest.approx(models[found.strength].score(*test))
    assert found.report.accuracy.low < found.report.accuracy.value < found.report.accuracy.high
    assert found.report.auc.value > 0.6


def test_test_images_choose_nothing() -> None:
    train, validation = clusters(60, 0), clusters(300, 1)
    strengths = {fitted([train, validation, clusters(90, seed, 3.0)], CLASSES).strength for seed in range(2, 5)}
    assert len(strengths) == 1


def test_a_class_that_is_missing_is_said() -> None:
    x, y = clusters(60, 0)
    with pytest.raises(InputError, match="training images of each of 3 classes"):
        fitted([(x[y > 0], y[y > 0]), (x, y), (x, y)], CLASSES)


def test_a_run_is_probed_on_the_images_of_its_own_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCFORMER_EAGER", "1")
    overrides = [
        "data.preset=deeplense/model-2", "data.pixels=24", "data.validation=24", "backbone.depth=1",
        "training.steps=1", "training.batch_size=12", 'training.precision="32"', "training.accelerator=cpu",
    ]  # fmt: skip
    run = fit(read(RunConfig, overrides=overrides), tmp_path / "run", quiet=True)
    found = probe(run, labels=5, count=30)
    assert found.labels == 15
    assert 0 <= found.report.auc.low <= found.report.auc.value <= 1
    assert probe(run, labels=5, count=30).report.auc == found.report.auc
    train, _ = open_sources(read(RunConfig, overrides=[*overrides, "data.labels=5"]), Path())
    rows, labels = features(run, train)
    assert np.bincount(labels).tolist() == [5, 5, 5]
    first = run.transform(train.batch(0)[:1])
    maps = run.task.backbone.features(first.images)[-1].x
    torch.testing.assert_close(pooled(run.task.backbone, first), maps.mean((2, 3)))
    np.testing.assert_allclose(rows[0], maps.mean((2, 3))[0].detach().numpy(), atol=1e-5)

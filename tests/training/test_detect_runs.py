"""Runs of detect: what is fitted, on which images it is calibrated, and runs that train nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from tiny import TINY

from arcformer.config import read
from arcformer.errors import InputError
from arcformer.sim.render import simulate
from arcformer.training import RunConfig, fit, load
from arcformer.training.sources import open_calibration, open_sources, open_test

NORMAL = ("data.only=no_sub", "data.calibration=99", "data.fitting=64", "training.batch_size=16")


def detect(recipe, statistic, *overrides):
    """The tiny configuration with a statistic."""
    return recipe("task.name=detect", f"task.statistic={statistic}", *NORMAL, *overrides)


@pytest.fixture
def plain(recipe):
    return lambda statistic, *overrides: detect(recipe, statistic, *overrides)


def test_a_statistic_that_learns_nothing_is_a_run_without_steps(plain, tmp_path):
    run = fit(plain("mahalanobis", "training.steps=0"), tmp_path / "run", quiet=True)
    assert run.metrics["best_step"] == 0
    assert run.metrics["parameters_trained"] == 0
    assert run.metrics["validation"]["score"] > 0
    assert len(run.task.calibration) == 99
    again = load(tmp_path / "run")
    test = open_test(again.config, tmp_path / "none", count=200, seed=9)
    with torch.no_grad():
        found = [again.task.predict(again.transform(test.batch(k))) for k in range(test.batches)]
    flagged = sum(int((prediction.p_value <= 0.1).sum()) for prediction in found)
    assert binomtest(flagged, 200, 0.1).pvalue > 1e-4
    assert again.task.threshold(0.01) < torch.inf
    with pytest.raises(InputError, match="199 are needed"):
        again.task.threshold(0.005)


def test_one_that_learns_is_trained_fitted_and_calibrated(plain, tmp_path):
    run = fit(plain("masked", "task.statistic.cells=4", "training.steps=4"), tmp_path / "run", quiet=True)
    assert run.metrics["best_step"] > 0
    residual = run.task.statistic.residual
    assert len(residual.noise) > 0
    assert float((residual.typical.whitening - torch.eye(16)).abs().max()) > 0
    assert len(run.task.calibration) == 99


def test_it_begins_with_the_backbone_of_another_run(plain, tmp_path):
    first = fit(plain("masked", "training.steps=4"), tmp_path / "first", quiet=True)
    second = fit(plain("knn", "training.steps=0", f"init={tmp_path / 'first'}"), tmp_path / "second", quiet=True)
    for one, other in zip(first.task.backbone.parameters(), second.task.backbone.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("statistic", "steps", "words"),
    [
        ("mahalanobis", 4, "training.steps=0"),
        ("reconstruction", 0, "reconstruction of task detect has to"),
    ],
)
def test_steps_are_asked_for_where_there_is_something_to_learn(plain, tmp_path, statistic, steps, words):
    with pytest.raises(InputError, match=words):
        fit(plain(statistic, f"training.steps={steps}"), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_all_classes_are_not_taken_for_normal_without_a_word(plain, tmp_path):
    config = plain("mahalanobis", "training.steps=0", "data.only=[]")
    with pytest.raises(InputError, match="name the normal ones in"):
        fit(config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_calibration_images_are_no_others(plain, tmp_path):
    config = plain("mahalanobis", "training.steps=0", "data.calibration=32", "data.validation=32")
    train, validation = open_sources(config, tmp_path / "none")
    sources = [train, validation, open_calibration(config, tmp_path / "none")]
    sources.append(open_test(config, tmp_path / "none", count=32, seed=config.seed))
    names = [{name for k in range(2) for name in source.batch(k).ids} for source in sources]
    assert len(set.union(*names)) == sum(len(some) for some in names)


def test_a_folder_gives_half_of_its_validation_files(tmp_path):
    folder = tmp_path / "normal"
    folder.mkdir()
    images = simulate("deeplense/model-1", 120, seed=1, pixels=16, labels=["no_sub"] * 120).images[:, 0]
    for k, image in enumerate(images.numpy()):
        np.save(folder / f"{k}.npy", image)
    (tmp_path / "folder.toml").write_text(TINY.replace("pixels = 16", f'folder = "{folder}"'))
    overrides = ("task.name=detect", "task.statistic=mahalanobis", "data.only=no_sub", "training.steps=0")
    config = read(RunConfig, tmp_path / "folder.toml", overrides)
    run = fit(config, tmp_path / "run", quiet=True)
    parts = json.loads((tmp_path / "run" / "split.json").read_text())
    assert set(parts) == {"train", "validation", "calibration", "test"}
    assert len(run.task.calibration) == len(parts["calibration"]) > 0
    assert sum(map(len, parts.values())) == 120

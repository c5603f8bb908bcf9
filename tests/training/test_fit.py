"""From a configuration to a finished run: what it leaves behind, what it refuses, what it reads from a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import arcformer
from arcformer.config import read
from arcformer.errors import InputError
from arcformer.sim.render import simulate
from arcformer.training import RunConfig, fit

Recipe = Callable[..., RunConfig]


@pytest.fixture
def finished(recipe: Recipe, tmp_path: Path) -> Path:
    fit(recipe(), tmp_path / "run")
    return tmp_path / "run"


def test_a_run_leaves_its_folder_whole(finished: Path, recipe: Recipe) -> None:
    files = {path.name for path in finished.iterdir()}
    assert files == {
        "config.toml", "model.safetensors", "transform.json", "domain.json", "metrics.json", "log.jsonl",
    }  # fmt: skip
    assert read(RunConfig, finished / "config.toml") == recipe()
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["images_seen"] == 12 * 8
    assert metrics["seed"] == 3
    assert metrics["validation"]["images"] == 40
    assert {"device", "precision", "versions", "commit", "seconds", "images_per_second", "parameters"} <= metrics.keys()
    log = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "validation" in line] == [4, 8, 12]
    assert [line["step"] for line in log if "loss" in line] == [2, 4, 6, 8, 10, 12]
    assert (
        len({file.stat().st_mode for file in finished.iterdir()}) == 1
    )  # whoever may read the numbers may read the weights


def test_load_gives_back_task_and_transform(finished: Path) -> None:
    run = arcformer.load(finished)
    assert not run.task.training
    assert run.classes == ("no_sub", "cdm", "axion")
    images = simulate("deeplense/model-1", 6, seed=99, pixels=16)
    first, second = (arcformer.load(finished) for _ in range(2))
    same = [r.task.predict(r.transform(images)).logits for r in (first, second)]
    assert torch.equal(*same)
    assert int(run.task.steps) == run.metrics["best_step"]  # buffers come back with the weights
    assert int(run.task.calibrated_on) == 40


def test_the_kept_weights_are_the_best_of_the_validations(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    log = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["validation"]["cross_entropy"] for line in log if "validation" in line}
    assert metrics["best_step"] == min(losses, key=lambda step: losses[step])


def test_the_same_configuration_gives_the_same_weights_whatever_the_workers(recipe: Recipe, tmp_path: Path) -> None:
    for name, workers in (("a", 0), ("b", 2)):
        fit(recipe(f"data.workers={workers}"), tmp_path / name)
    a, b = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b"))
    assert a == b


def test_another_seed_gives_other_weights(recipe: Recipe, tmp_path: Path, finished: Path) -> None:
    fit(recipe("seed=4"), tmp_path / "other")
    one, other = (load_file(run / "model.safetensors") for run in (finished, tmp_path / "other"))
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_the_gradient_reaches_the_weights_with_and_without_an_average(recipe: Recipe, tmp_path: Path) -> None:
    for ema in (0, 0.9):
        run = fit(recipe(f"training.ema={ema}", "training.rate=0.05", "training.steps=60"), tmp_path / f"ema-{ema}")
        log = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
        losses = [line["validation"]["cross_entropy"] for line in log if "validation" in line]
        assert min(losses[1:]) < losses[0]


def test_nothing_is_overwritten(finished: Path, recipe: Recipe) -> None:
    before = (finished / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match="not empty, and nothing is overwritten"):
        fit(recipe(), finished)
    with pytest.raises(InputError, match=r"another configuration: training\.rate is 0\.01 there and 0\.5 here"):
        fit(recipe("training.rate=0.5"), finished, resume=True)
    assert (finished / "model.safetensors").read_bytes() == before


def test_resuming_a_finished_run_gives_it_back(finished: Path, recipe: Recipe) -> None:
    before = (finished / "metrics.json").read_bytes()
    assert fit(recipe(), finished, resume=True).metrics["seed"] == 3
    assert (finished / "metrics.json").read_bytes() == before


def test_a_diverging_run_stops_in_words_and_leaves_no_weights(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training has diverged.*lower training\.rate"):
        fit(recipe("task.explode_at=5", "training.ema=0"), tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [("training.accelerator=abacus", "training.accelerator"), ("training.strategy=hope", "strategy")],
)
def test_what_this_machine_lacks_is_said(recipe: Recipe, tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        fit(recipe(override), tmp_path / "run")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder in DeepLense's layout: 60 files, as the public ones."""
    batch = simulate("deeplense/model-1", 60, seed=5, pixels=16)
    for i in range(60):
        folder = tmp_path / "Model_I" / batch.classes[int(batch.labels[i])]
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{i}.npy", batch.images[i, 0].numpy().astype(np.int64))
    return tmp_path / "Model_I"


def test_a_folder_is_split_once_and_read(images: Path, recipe: Recipe, tmp_path: Path) -> None:
    config = recipe("data.pixels=16").model_dump()
    config["data"] = {"folder": str(images), "workers": 0}
    run = fit(RunConfig.model_validate(config), tmp_path / "run")
    parts = json.loads((tmp_path / "run" / "split.json").read_text())
    assert sum(map(len, parts.values())) == 60
    assert run.metrics["validation"]["images"] == len(parts["validation"]) > 0


def test_a_bad_file_is_an_error_that_names_it_or_is_left_out_and_listed(
    images: Path, recipe: Recipe, tmp_path: Path
) -> None:
    (images / "cdm" / "bad.npy").write_text("hello")
    config = recipe("data.pixels=16").model_dump()
    config["data"] = {"folder": str(images), "workers": 0}
    with pytest.raises(InputError, match=r"bad\.npy: not a \.npy file"):
        fit(RunConfig.model_validate(config), tmp_path / "run")
    config["data"]["skip_bad"] = True
    fit(RunConfig.model_validate(config), tmp_path / "skipping")
    assert "bad.npy" in (tmp_path / "skipping" / "skipped.txt").read_text()

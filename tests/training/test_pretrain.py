"""Pretraining from a configuration to a run: what is left, what is asked of the data, and how a collapse ends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import arcformer
from arcformer.batch import LensBatch
from arcformer.config import read
from arcformer.data.simulated import SimulatedBatches
from arcformer.data.store import write_store
from arcformer.errors import InputError
from arcformer.predict import predict
from arcformer.studies.evaluate import evaluate
from arcformer.training import RunConfig, fit

VIT = ["backbone.name=vit", "backbone.dim=16", "backbone.depth=1", "backbone.heads=2", "backbone.patch=4"]
TURNED = LensBatch(torch.rand(2, 1, 16, 16))
OBJECTIVES = ["mae", "simmim", "dino", "jepa", "simclr", "physics"]


def pretraining(recipe, name: str, *overrides: str) -> RunConfig:
    return recipe(*VIT, f'task={{name="{name}"}}', 'augment="none"', "training.steps=6", *overrides)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_run_is_trained_loaded_and_predicts(name: str, recipe, tmp_path: Path) -> None:
    run = fit(pretraining(recipe, name, "task.least_rank=0"), tmp_path / "run", quiet=True)
    values = run.metrics["validation"]
    assert {"loss", "spread", "rank", "knn_accuracy", "probe_accuracy", "probe_auroc"} == set(values)
    assert None not in values.values()
    lines = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    assert any("rank" in line.get("validation", {}) for line in lines)
    source = SimulatedBatches("deeplense/model-1", batch_size=5, seed=7, split="new", pixels=16, count=5)
    batch = source.batch(0)
    with torch.no_grad():
        assert run.task.predict(run.transform(batch)).features.shape == (5, 16)
    image = tmp_path / "lens.npy"

    np.save(image, batch.images[0, 0].numpy())
    (found,) = predict(run, [image]).found
    assert found.probabilities == {}
    assert found.picture()
    with pytest.raises(InputError, match="predicts nothing that an evaluation can measure"):
        evaluate(run, source, name="test")


@pytest.mark.parametrize("name", ["dino", "jepa"])
def test_a_teacher_is_resumed_with_the_same_bits(name: str, recipe, tmp_path: Path, monkeypatch) -> None:
    config = pretraining(recipe, name, "training.save_every=2", "task.momentum=0.5", "task.least_rank=0")
    whole = fit(config, tmp_path / "whole", quiet=True)
    after_step = type(whole.task).after_step

    def interrupted(self, step: int) -> None:
        if step == 5:
            raise KeyboardInterrupt
        after_step(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(type(whole.task), "after_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(config, tmp_path / "parts", quiet=True)
    parts = fit(config, tmp_path / "parts", resume=True, quiet=True)
    for key, tensor in whole.task.state_dict().items():
        assert torch.equal(tensor, parts.task.state_dict()[key]), key


def test_a_collapsed_run_leaves_no_weights(recipe, tmp_path: Path) -> None:
    config = pretraining(recipe, "simclr", "task.least_rank=1000", "training.evaluate_every=3")
    with pytest.raises(InputError, match=r"collapsed: .*least_rank = 1000"):
        fit(config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    with pytest.raises(InputError, match="not finished"):
        arcformer.load(tmp_path / "run")


def test_only_objectives_that_ask_for_it_get_the_truth(recipe) -> None:
    from arcformer.training.sources import open_sources

    for name, there in (("mae", True), ("physics", True), ("simclr", False)):
        for source in open_sources(pretraining(recipe, name), Path("unused")):
            batch = source.batch(0)
            assert (batch.noise_std is not None) == ("clean" in batch.extras) == there
    plain = open_sources(recipe(), Path("unused"))[0].batch(0)
    assert plain.noise_std is None


def test_physics_takes_images_that_are_turned(recipe, tmp_path: Path) -> None:
    for count in ((), ("data.count=20",)):
        config = pretraining(recipe, "physics", 'augment="dihedral"', "training.steps=2", "task.least_rank=0", *count)
        run = fit(config, tmp_path / f"run{len(count)}", quiet=True)
        assert run.metrics["validation"]["loss"] > 0
        assert set(run.task.table(run.task.predict(run.transform(TURNED)))) == {"source_x", "source_y"}


def test_physics_asks_for_simulated_images(recipe, tmp_path: Path) -> None:
    write_store("deeplense/model-1", tmp_path / "store", count=30, pixels=16)
    files = read(RunConfig, None, ['task="physics"', 'augment="none"', f"data.folder={tmp_path / 'store'}"])
    with pytest.raises(InputError, match=r"only a simulator knows.*leave data\.folder out"):
        fit(files, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["mae", "dino"])
def test_files_without_noise_are_pretrained_on(name: str, recipe, tmp_path: Path) -> None:
    write_store("deeplense/model-1", tmp_path / "store", count=80, pixels=16)
    chosen = [f"task.name={name}", "task.least_rank=0", f"data.folder={tmp_path / 'store'}", "data.workers=0", *VIT]
    chosen += ["training.steps=3", "training.batch_size=8", "training.precision=32", "training.accelerator=cpu"]
    run = fit(read(RunConfig, None, chosen), tmp_path / "run", quiet=True)
    assert run.metrics["validation"]["loss"] > 0


def test_low_rank_corrections_and_teachers_go_together(recipe, tmp_path: Path) -> None:
    config = pretraining(recipe, "dino", "training.lora.rank=2", "training.recompute=true", "task.least_rank=0")
    run = fit(config, tmp_path / "run", quiet=True)
    assert not any("parametrizations" in name for name in run.task.state_dict())

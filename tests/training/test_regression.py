"""Regression from a configuration to a run: its scales, what is refused before the first step, and resuming."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import arcformer
from arcformer.data.simulated import SimulatedBatches
from arcformer.errors import InputError
from arcformer.tasks import Regress
from arcformer.training import RunConfig, fit
from arcformer.training.build import check_trainable

QUICK = ("data.preset=deeplense/halo-mass", 'task={name="regress",targets=["log10_halo_mass"]}', "training.steps=6")
VIT = ("backbone.name=vit", "backbone.dim=16", "backbone.depth=1", "backbone.heads=2", "backbone.patch=4")


def regression(recipe, *overrides: str) -> RunConfig:
    chosen = ["data.preset=survey/lsst", 'task={name="regress"}', "training.steps=6", "data.validation=24"]
    return recipe(*chosen, *overrides)


@pytest.mark.parametrize("head", ["point", "gaussian", "flow"])
def test_a_run_is_trained_loaded_and_gives_posteriors(head: str, recipe, tmp_path: Path) -> None:
    config = recipe(*QUICK, f"task.head={head}", "task.views=dihedral", "augment=dihedral")
    fit(config, tmp_path / "run", quiet=True)
    run = arcformer.load(tmp_path / "run")
    values = run.metrics["validation"]
    assert set(values) == {"nll"} | {
        f"{name}/{t}" for name in ("mae", "rmse", "r2", "coverage_68") for t in run.task.targets
    }
    assert None not in values.values()
    assert run.metrics["monitor"] == "nll"
    assert run.task.targets == ("log10_halo_mass",)
    source = SimulatedBatches("deeplense/halo-mass", batch_size=5, seed=7, split="new", pixels=16, count=5)
    batch = run.transform(source.batch(0))
    with torch.no_grad():
        made = run.task.predict(batch)
        assert run.task.posterior(batch, 1000).shape == (5, 1000, 1)
        assert run.task.log_prob(made, run.task.truth_of(batch)).isfinite().all()
    assert 11.4 < float(made.mean.mean()) < 12.6  # the prior is from 11.48 to 12.48


def test_scales_are_those_of_the_images_that_the_transform_was_fitted_to(recipe, tmp_path: Path) -> None:
    for more in ((), ("augment=dihedral",), ("data.count=40",)):
        run = fit(recipe(*QUICK, "training.steps=1", *more), tmp_path / str(len(str(more))), quiet=True)
        few = "data.count=40" in more
        source = SimulatedBatches("deeplense/halo-mass", batch_size=64 if few else 8, seed=3, split="train", pixels=16)
        batches = [source.batch(k) for k in range(64)]
        mass = batches[0].target_names.index("log10_halo_mass")
        targets = torch.cat([batch.targets[:, [mass]] for batch in batches])[: 40 if few else None]
        torch.testing.assert_close(run.task.standard.mean, targets.mean(0))
        torch.testing.assert_close(run.task.standard.std, targets.std(0, correction=0))


def test_a_resumed_run_keeps_its_scales_and_ends_with_the_same_bits(recipe, tmp_path: Path, monkeypatch) -> None:
    config = recipe(*QUICK, "training.save_every=2", "augment=dihedral")
    whole = fit(config, tmp_path / "whole", quiet=True)

    def stopped(at: int, folder: Path, resume: bool = False) -> None:
        def interrupted(self, step: int) -> None:
            if step == at:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Regress, "after_step", interrupted)
            with pytest.raises(KeyboardInterrupt):
                fit(config, folder, resume=resume, quiet=True)

    prepared = []
    prepare = Regress.prepare
    monkeypatch.setattr(
        Regress, "prepare", lambda self, batches: (prepared.append(len(batches)), prepare(self, batches))
    )
    stopped(1, tmp_path / "parts")  # before the first resume file: it begins again, with the same images
    stopped(5, tmp_path / "parts", resume=True)
    assert prepared == [64, 64]
    parts = fit(config, tmp_path / "parts", resume=True, quiet=True)
    assert prepared == [64, 64]
    for key, tensor in whole.task.state_dict().items():
        assert torch.equal(tensor, parts.task.state_dict()[key]), key


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((), r"name what is to be estimated in task\.targets; images of survey/lsst have theta_E, slope, e1"),
        (('task.targets=["theta_e"]',), r"has no 'theta_e'; did you mean 'theta_E'\? Known: "),
        (('task.targets=["e1","e1"]',), "named twice"),
    ],
)
def test_targets_that_are_not_there_are_said_when_a_run_is_planned(overrides, words, recipe, tmp_path: Path) -> None:
    config = regression(recipe, *VIT, *overrides)
    with pytest.raises(InputError, match=words):
        check_trainable(config)
    with pytest.raises(InputError, match=words):
        fit(config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_target_in_brackets_is_asked_for(recipe) -> None:
    with pytest.raises(InputError, match=r'task\.targets: expected a list in brackets, as \["theta_E"\]'):
        regression(recipe, "task.targets=theta_E")


def test_a_target_of_some_classes_is_refused_before_the_first_step(recipe, tmp_path: Path) -> None:
    config = recipe('task={name="regress"}', 'task.targets=["log10_axion_mass_eV"]')
    with pytest.raises(InputError, match=r'no_sub, cdm have no log10_axion_mass_eV; set data\.only to \["axion"\]'):
        fit(config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_backbone_goes_on_from_pretraining_and_may_be_frozen(recipe, tmp_path: Path) -> None:
    before = fit(
        recipe('task={name="simclr"}', "task.least_rank=0", "training.steps=2"), tmp_path / "before", quiet=True
    )
    config = recipe(*QUICK, f"init={tmp_path / 'before'}", "training.freeze=true")
    run = fit(config, tmp_path / "run", quiet=True)
    for name, tensor in before.task.backbone.state_dict().items():
        assert torch.equal(tensor, run.task.backbone.state_dict()[name])
    lines = (run.folder / "log.jsonl").read_text().splitlines()
    assert any("nll" in json.loads(line).get("validation", {}) for line in lines)

"""What a run begins with that another has learned, and what stays as it was."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import TINY, Runs

import arcformer
from arcformer.config import read
from arcformer.data.transforms import TransformSection
from arcformer.errors import InputError
from arcformer.training import RunConfig, fit
from arcformer.training.build import build_task, check_trainable
from arcformer.training.optimizer import optimizer
from arcformer.training.recipe import TrainingSection
from arcformer.training.sources import open_sources
from arcformer.training.start import Start, digest_of, scaled_alike

Recipe = Callable[..., RunConfig]

VIT = ("backbone.name=vit", "backbone.dim=8", "backbone.depth=2", "backbone.heads=2", "backbone.patch=4")
CLASSIFY = ("task.name=classify", "training.steps=2", "training.evaluate_every=2")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on 16 pixels, with learned positions; not to be written to."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "tiny.toml").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCFORMER_EAGER", "1")
        patch.syspath_prepend(Path(__file__).parent)
        fit(read(RunConfig, folder / "tiny.toml", [*VIT, "backbone.position=learned"]), folder / "run")
    return folder / "run"


def begun(source: Path, *overrides: str) -> tuple[str, ...]:
    return (*VIT, "backbone.position=learned", *CLASSIFY, f"init={source}", *overrides)


def test_another_task_size_preset_and_number_of_classes_begin_with_the_same_backbone(
    source: Path, recipe: Recipe, tmp_path: Path
) -> None:
    other = ("data.preset=deeplense/binary", "data.pixels=24", "training.freeze=true", "backbone.drop_path=0.3")
    run = fit(recipe(*begun(source, *other)), tmp_path / "run")
    first = arcformer.load(source)
    assert len(run.classes) == 2 != len(first.classes)
    there, here = (r.task.backbone.state_dict() for r in (first, run))
    assert all(torch.equal(there[name], here[name]) for name in there)
    assert here["position.table"].shape == (8, 4, 4)
    images = torch.randn(2, 1, 24, 24)  # six cells a side, for which positions are interpolated
    for one, two in zip(first.task.backbone.features(images), run.task.backbone.features(images), strict=True):
        assert one.grid == (6, 6)
        assert torch.equal(one.x, two.x)
    assert run.metrics["start"] == {
        "run": str(source), "weights": digest_of(there), "image_size": 16, "channels": 1,
        "scaling": run.metrics["start"]["scaling"],
    }  # fmt: skip


def test_what_was_begun_with_is_trained_and_not_needed_again(source: Path, recipe: Recipe, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(source, tmp_path / "source"))
    run = fit(recipe(*begun(copy, "training.ema=0")), tmp_path / "run")
    shutil.rmtree(copy)
    first, last = arcformer.load(source).task.backbone, arcformer.load(run.folder).task.backbone
    apart = [(a - b).abs().max() for a, b in zip(first.parameters(), last.parameters(), strict=True)]
    assert 0 < max(apart) < 0.1  # two steps of 0.01 from there, and not from weights as drawn


def test_a_killed_run_goes_on_without_the_run_that_it_began_with(source: Path, forked: Runs, tmp_path: Path) -> None:
    recipe, copy = tmp_path / "tiny.toml", tmp_path / "source"
    recipe.write_text(TINY)
    job = {"recipe": recipe, "overrides": [*VIT, "backbone.position=learned", f"init={copy}", "data.pixels=20"]}
    shutil.copytree(source, copy)
    assert forked(**job, folder=tmp_path / "alone") == [0]
    assert forked(**job, folder=tmp_path / "run", environment={"TINY_KILL_AT": "8"}) == [-signal.SIGKILL]
    shutil.rmtree(copy)
    assert forked(**job, folder=tmp_path / "run", resume=True) == [0]
    alone, resumed = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("alone", "run"))
    assert resumed == alone


def test_weights_that_have_changed_are_noticed(source: Path, recipe: Recipe, tmp_path: Path) -> None:
    config = recipe(*begun(source))
    (tmp_path / "run").mkdir()
    Start(str(source), "another digest", 16, 1).save(tmp_path / "run")
    shutil.copy(source / "config.toml", tmp_path / "run")
    with pytest.raises(InputError, match="have changed since"):
        arcformer.training.start.start_of(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["backbone.name=swin"], r"the backbone of \S+ is vit, here it is swin; set backbone\.name=vit"),
        (["backbone.depth=1", "backbone.heads=1"], r"backbone\.depth of \S+ is 2, here it is 1 \(and heads\)"),
        (["init=nowhere"], "nowhere is not the folder of a run"),
        (["data.preset=deeplense/model-4", "data.pixels=16"], r"takes images of 1 channel\(s\), these have \d"),
    ],
)
def test_what_does_not_fit_is_said_in_a_line(
    source: Path, recipe: Recipe, tmp_path: Path, overrides: list[str], words: str
) -> None:
    base = [line for line in begun(source) if overrides[0] != "backbone.name=swin" or "backbone" not in line]
    with pytest.raises(InputError, match=words) as caught:
        fit(recipe(*base, *overrides), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_not_finished_is_refused(source: Path, recipe: Recipe, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(source, tmp_path / "source"))
    (copy / "metrics.json").unlink()
    with pytest.raises(InputError, match="is not finished; resume it first"):
        fit(recipe(*begun(copy)), tmp_path / "run")


def test_the_scaling_is_taken_over_where_flux_means_the_same(source: Path, recipe: Recipe, tmp_path: Path) -> None:
    first = arcformer.load(source)
    run = fit(recipe(*begun(source), "transform.size=12"), tmp_path / "run")
    names = ("softening", "offset", "scale")
    assert [getattr(run.transform, n) for n in names] == [getattr(first.transform, n) for n in names]
    assert run.transform.section.size == 12
    assert run.metrics["start"]["scaling"] == "taken over"


@pytest.mark.parametrize(
    ("section", "preset", "word"),
    [
        ({"scaling": "noise"}, "deeplense/model-1", "scaling is noise here and asinh there"),
        ({"softening": 3.0}, "deeplense/model-1", "softening is 3 here"),
        ({}, "deeplense/model-2", "the unit is"),
        ({"pixel_scale": 0.1}, "deeplense/model-1", r"pixels are 0\.1 arcsec here and 0\.05 there"),
        ({"scaling": "minmax"}, "deeplense/model-1", "scaling is minmax here"),
    ],
)
def test_the_scaling_is_fitted_anew_where_flux_means_something_else(
    source: Path, recipe: Recipe, section: dict, preset: str, word: str
) -> None:
    batches = [open_sources(recipe(f"data.preset={preset}"), Path())[0].batch(0)]
    transform, why = scaled_alike(arcformer.load(source), TransformSection(**section), batches)
    assert re.search(f"fitted anew: {word}", why), why
    assert transform == type(transform)(TransformSection(**section)).fit(batches)


def test_a_frozen_backbone_stays_to_the_bit_and_in_eval_mode(recipe: Recipe, tmp_path: Path, monkeypatch) -> None:
    modes = []
    overrides = [*VIT, *CLASSIFY, "backbone.drop_path=0.5", "training.freeze=true", "training.ema=0.5"]
    classify = arcformer.tasks.TASKS.get("classify")
    loss = classify.loss
    monkeypatch.setattr(
        classify, "loss", lambda self, batch: modes.append((self.training, self.backbone.training)) or loss(self, batch)
    )
    run = fit(recipe(*overrides, "training.steps=4"), tmp_path / "run")
    assert set(modes) == {(True, False)}
    assert run.metrics["parameters_trained"] == sum(p.numel() for p in run.task.head.parameters())
    unmoved = fit(recipe(*overrides, "training.rate=1e-9"), tmp_path / "other")
    here, there = (load_file(r.folder / "model.safetensors") for r in (run, unmoved))
    assert all(torch.equal(here[name], there[name]) for name in here if name.startswith("backbone."))
    assert not torch.equal(here["head.linear.weight"], there["head.linear.weight"])


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_rates_fall_towards_the_image(recipe: Recipe, name: str) -> None:
    task = build_task(recipe(*VIT, "task.name=classify"), ("a", "b"), 16, 1)
    moving = optimizer(task, TrainingSection(rate=0.1, layer_decay=0.5, optimizer=name, weight_decay=0.2))  # type: ignore
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in moving.param_groups for p in group["params"]}
    named = {n: rates[id(p)] for n, p in task.named_parameters()}
    assert named["head.linear.weight"] == (0.1, 0.2)
    assert named["backbone.norm.weight"] == (0.05, 0.0)
    assert named["backbone.blocks.1.mlp.0.weight"] == (0.05, 0.2)
    assert named["backbone.blocks.0.attention.qkv.weight"] == (0.025, 0.2)
    assert named["backbone.blocks.0.norm1.bias"] == (0.025, 0.0)
    assert named["backbone.stem.0.weight"] == (0.0125, 0.2)
    assert len(rates) == len(list(task.parameters()))


def test_a_run_with_falling_rates_trains_and_logs_the_highest(recipe: Recipe, tmp_path: Path) -> None:
    run = fit(recipe(*VIT, "training.layer_decay=0.7", "training.warmup=0"), tmp_path / "run")
    log = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    assert max(line["rate"] for line in log if "rate" in line) > 0.009


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training.lora.rank=8"], "rank 8 is no low rank for matrices of at most 8"),
        (["training.lora.rank=2", 'training.lora.targets=["*.query"]'], "matches no module"),
        (["backbone.name=tiny:TinyBackbone", "training.layer_decay=0.5"], "TinyBackbone names no blocks"),
    ],
)
def test_what_training_cannot_make_of_a_backbone_is_found_before_anything_is_read(
    recipe: Recipe, overrides: list[str], words: str
) -> None:
    vit = () if "tiny" in overrides[0] else (*VIT, "backbone.mlp=8")
    with pytest.raises(InputError, match=words):
        check_trainable(recipe(*vit, *overrides))


@pytest.mark.parametrize("other", ["training.lora.rank=2", "training.layer_decay=0.5", "training.recompute=true"])
def test_a_frozen_backbone_is_not_trained_in_another_way(recipe: Recipe, other: str) -> None:
    with pytest.raises(InputError, match=f"{other.split('.')[1].split('=')[0]} has no meaning"):
        recipe(*VIT, "training.freeze=true", other)


def test_a_set_that_does_not_grow_is_trained_on_again_and_again(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "seen").mkdir()
    record = (f"task.record={tmp_path / 'seen'}", "data.labels=5", "training.batch_size=6")
    run = fit(recipe(*record), tmp_path / "run")
    ids = "\n".join(path.read_text() for path in (tmp_path / "seen").iterdir()).splitlines()
    assert len(set(ids)) == 15
    assert run.metrics["training_images"] == 15
    assert run.metrics["images_seen"] == len([i for i in ids if "/train/" in i]) == 4 * 15


def test_a_killed_run_on_a_fixed_set_ends_with_the_same_bits(forked: Runs, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TINY)
    job = {"recipe": recipe, "overrides": ["data.count=20"]}
    assert forked(**job, folder=tmp_path / "alone") == [0]
    assert forked(**job, folder=tmp_path / "run", environment={"TINY_KILL_AT": "8"}) == [-signal.SIGKILL]
    assert forked(**job, folder=tmp_path / "run", resume=True) == [0]
    alone, resumed = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("alone", "run"))
    assert resumed == alone

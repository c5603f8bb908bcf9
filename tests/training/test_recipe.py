"""What training makes of a backbone: corrections of low rank, merged when they are saved; blocks computed again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import arcformer
from arcformer.config import read
from arcformer.errors import InputError
from arcformer.models import BACKBONES
from arcformer.randomness import derive
from arcformer.training import RunConfig, fit

Recipe = Callable[..., RunConfig]

VIT = ["backbone.name=vit", "backbone.dim=8", "backbone.depth=1", "backbone.heads=2", "training.rate=0.03"]


@pytest.mark.parametrize("ema", [0, 0.9])
def test_load_gives_plain_weights_that_differ_from_the_first_by_a_low_rank(
    recipe: Recipe, tmp_path: Path, ema: float
) -> None:
    config = recipe(*VIT, "training.lora.rank=2", 'training.lora.targets=["blocks.*"]', f"training.ema={ema}")
    fit(config, tmp_path / "run")
    run = arcformer.load(tmp_path / "run")
    torch.manual_seed(derive(config.seed, "weights"))
    first = BACKBONES.get("vit")(16, 1, **config.backbone.options).state_dict()
    last = run.task.backbone.state_dict()
    assert last.keys() == first.keys()
    adapted = {name for name in first if not torch.equal(first[name], last[name])}
    assert adapted == {name for name in first if name.startswith("blocks.") and first[name].ndim == 2}
    for name in adapted:
        strengths = torch.linalg.svdvals((last[name] - first[name]).double())
        assert strengths[1] > 1e-6
        assert strengths[2:].max() < 1e-7
    matrices = 2 * ((8 + 24) + (8 + 8) + (8 + 32) + (32 + 8))
    assert run.metrics["parameters_trained"] == matrices + sum(p.numel() for p in run.task.head.parameters())
    assert run.metrics["parameters"] == sum(p.numel() for p in run.task.parameters())


def test_a_pattern_without_a_match_is_said_before_training(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'\*\.query' matches no module"):
        fit(recipe(*VIT, "training.lora.rank=2", 'training.lora.targets=["*.query"]'), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="with rank 0 there are none"):
        recipe(*VIT, "training.lora.alpha=3")


def test_a_run_that_computes_again_ends_with_the_same_bits(recipe: Recipe, tmp_path: Path) -> None:
    for name in ("false", "true"):
        fit(recipe(*VIT, "backbone.drop_path=0.2", f"training.recompute={name}"), tmp_path / name)
    plain, again = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("false", "true"))
    assert again == plain


def test_a_backbone_without_blocks_is_said_before_training(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="TinyBackbone names no blocks"):
        fit(recipe("training.recompute=true"), tmp_path / "run")


def test_a_component_given_by_its_name_takes_options_besides():
    config = read(RunConfig, None, ["task=mae", "task.ratio=0.6", "backbone=swin", "backbone.size=tiny"])
    assert (config.task.name, config.task.options["ratio"]) == ("mae", 0.6)
    assert (config.backbone.name, config.backbone.options["size"]) == ("swin", "tiny")

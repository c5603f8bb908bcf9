"""Which parameters each optimiser moves, and that two together are the two apart."""

from __future__ import annotations

import copy
import signal
from pathlib import Path

import pytest
import torch
from tiny import TINY, Runs
from torch import nn
from torch.optim import SGD, AdamW, Muon

from arcformer.models import VisionTransformer
from arcformer.models.lora import inject
from arcformer.tasks import TASKS
from arcformer.training.optimizer import Joint, optimizer
from arcformer.training.recipe import TrainingSection

DECAY = TrainingSection(weight_decay=0.1, rate=0.01)


def task() -> nn.Module:
    backbone = VisionTransformer(16, 1, dim=16, depth=1, heads=2, registers=1)
    return TASKS.get("classify")(backbone, ("no_sub", "cdm", "axion"))


def test_vectors_do_not_decay_and_frozen_parameters_do_not_move() -> None:
    module = task()
    frozen = module.backbone.norm.bias.requires_grad_(False)
    decays = {id(p): group["weight_decay"] for group in optimizer(module, DECAY).param_groups for p in group["params"]}
    assert decays == {id(p): 0.1 if p.ndim > 1 else 0.0 for p in module.parameters() if p is not frozen}


def test_muon_moves_the_matrices_of_the_backbone_and_adamw_the_rest() -> None:
    module = task()
    module.backbone.blocks[0].mlp[0].weight.requires_grad_(False)
    both = optimizer(module, DECAY.model_copy(update={"optimizer": "muon"}))
    names = {id(p): name for name, p in module.named_parameters() if p.requires_grad}
    muon, adamw = ({names.pop(id(p)) for group in part.param_groups for p in group["params"]} for part in both.parts)
    assert {name.removeprefix("backbone.blocks.0.") for name in muon} == {
        "attention.qkv.weight", "attention.out.weight", "mlp.2.weight"
    }  # fmt: skip
    assert {"backbone.stem.0.weight", "backbone.registers", "backbone.norm.bias"} < adamw
    assert not names


def test_adamw_moves_the_factors_of_corrections_and_the_head_under_either() -> None:
    for name in ("muon", "adamw"):
        module = task()
        inject(module.backbone, 2)
        adamw = optimizer(module, DECAY.model_copy(update={"optimizer": name}))
        assert type(adamw) is AdamW
        decays = {id(p): group["weight_decay"] for group in adamw.param_groups for p in group["params"]}
        trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        assert decays == {id(p): 0.1 if p.ndim > 1 else 0.0 for p in trained.values()}
        factors = {name for name in trained if name.startswith("backbone.")}
        assert {name.rpartition(".")[2] for name in factors} == {"A", "B"}
        assert trained.keys() - factors == {name for name, _ in module.named_parameters() if name.startswith("head.")}


def test_two_as_one_are_the_two_apart_also_after_a_rest() -> None:
    torch.manual_seed(0)
    apart = nn.ModuleList([nn.Linear(4, 6, bias=False), nn.Linear(6, 2)])
    one, other = (copy.deepcopy(apart) for _ in "ab")
    parts = [Muon(apart[0].parameters(), lr=0.1), AdamW(apart[1].parameters(), lr=0.1)]
    joint = _joint(one)
    for step in range(4):
        if step == 2:  # all that is known goes to another model and another optimiser, as in a resume file
            other.load_state_dict(one.state_dict())
            state, one, joint = copy.deepcopy(joint.state_dict()), other, _joint(other)
            joint.load_state_dict(state)
        for model, optimizers in ((apart, parts), (one, [joint])):
            for each in optimizers:
                each.zero_grad()
                for group in each.param_groups:
                    group["lr"] = 0.1 / (step + 1)  # as a schedule does
            model[1](model[0](torch.ones(3, 4)).tanh()).square().sum().backward()
            for each in optimizers:
                each.step()
    assert all(torch.equal(a, b) for a, b in zip(apart.parameters(), one.parameters(), strict=True))


def _joint(model: nn.ModuleList) -> Joint:
    return Joint(Muon(model[0].parameters(), lr=0.1), AdamW(model[1].parameters(), lr=0.1))


def test_a_joint_step_takes_a_closure() -> None:
    weight = nn.Parameter(torch.ones(2))

    def closure() -> torch.Tensor:
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert Joint(SGD([weight], lr=0.5)).step(closure).item() == 2
    assert torch.equal(weight, torch.zeros(2))


@pytest.mark.parametrize("override", ["training.optimizer=muon", "training.lora.rank=2"])
def test_a_killed_run_ends_with_the_same_bits(forked: Runs, tmp_path: Path, override: str) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TINY.replace('"tiny:TinyBackbone"', '"vit"\ndim = 8\ndepth = 1\nheads = 2'))
    jobs = [{"recipe": recipe, "overrides": [override], "folder": tmp_path / name} for name in ("alone", "run")]
    assert forked(**jobs[0]) == [0]
    assert forked(**jobs[1], environment={"TINY_KILL_AT": "8"}) == [-signal.SIGKILL]
    assert forked(**jobs[1], resume=True) == [0]
    alone, resumed = ((job["folder"] / "model.safetensors").read_bytes() for job in jobs)
    assert resumed == alone

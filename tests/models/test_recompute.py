"""Blocks that are computed again: of every family the same features, gradients and buffers, whatever is random."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch
from small import FAMILIES, small
from torch import Tensor, nn

from arcformer.errors import InputError
from arcformer.models import Backbone, FeatureMap
from arcformer.models.lora import inject, merge
from arcformer.models.recompute import recompute


def step(backbone: Backbone) -> dict[str, Tensor]:
    """What a training step leaves behind: features, gradients, buffers."""
    torch.manual_seed(1)
    maps = backbone.train().features(torch.randn(4, 1, 37, 32))
    sum((m.x * torch.randn_like(m.x)).mean() for m in maps).backward()
    left = {f"map {i}": m.x.detach() for i, m in enumerate(maps)}
    left |= {name: p.grad for name, p in backbone.named_parameters() if p.grad is not None}
    return left | {name: buffer.clone() for name, buffer in backbone.named_buffers()}


def same(one: Backbone, other: Backbone) -> None:
    expected, found = step(one), step(other)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_takes_the_same_step(name):
    plain = small(name)
    again = copy.deepcopy(plain)
    recompute(again)
    assert again.state_dict().keys() == plain.state_dict().keys()
    same(plain, copy.deepcopy(again))


def counted(backbone: Backbone) -> Counter[nn.Module]:
    calls = Counter()
    for block in backbone.recomputable():
        block.register_forward_pre_hook(lambda block, _: calls.update([block]))
    return calls


@pytest.mark.parametrize("name", FAMILIES)
def test_every_block_is_computed_twice_in_training_and_once_in_use(name):
    backbone = small(name)
    recompute(backbone)
    calls = counted(backbone)
    step(backbone)
    assert set(calls.values()) == {2}
    assert set(calls) == set(backbone.recomputable())
    calls.clear()
    backbone.eval().features(torch.randn(1, 1, 32, 32))
    with torch.no_grad():
        backbone.train().features(torch.randn(2, 1, 32, 32))
    assert set(calls.values()) == {2}  # once in each


def test_blocks_are_the_inner_ones():
    kinds = {name: Counter(type(block).__name__ for block in small(name).recomputable()) for name in ("vit", "resnet")}
    assert kinds == {"vit": {"Block": 2}, "resnet": {"BasicBlock": 8}}
    assert Counter(type(block).__name__ for block in small("crossvit").recomputable()) == {"Block": 4, "Exchange": 4}
    assert [type(block).__name__ for block in small("swin").recomputable()] == ["Block"] * 4


def test_goes_with_corrections_of_low_rank():
    plain = small("vit")
    again = copy.deepcopy(plain)
    recompute(again)
    for backbone in (plain, again):
        torch.manual_seed(0)
        inject(backbone, 2)
    same(plain, again)
    merge(again)
    assert type(again.blocks[0]).__call__ is not nn.Module.__call__
    assert type(again.blocks[0].mlp[0]) is nn.Linear


class Flat(Backbone):
    def __init__(self, image_size, channels):
        super().__init__()
        self.dim, self.map = 4, nn.Conv2d(channels, 4, 4, 4)

    def features(self, images, context=None):
        return [FeatureMap(self.map(images), 4)]


def test_a_backbone_without_blocks_is_refused_unless_it_names_one():
    with pytest.raises(InputError, match="Flat names no blocks"):
        recompute(Flat(16, 1))

    class Named(Flat):
        def recomputable(self):
            return [self.map]

    backbone = Named(16, 1)
    recompute(backbone)
    calls = counted(backbone)
    step(backbone)
    assert set(calls.values()) == {2}

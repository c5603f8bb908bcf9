"""How deep parameters lie: the stem lowest, the last block next to the head, for every family."""

from __future__ import annotations

import pytest
from small import FAMILIES, small
from torch import nn

from arcformer.errors import InputError
from arcformer.models.depth import depths
from arcformer.models.lora import inject


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_has_a_depth_and_blocks_come_in_their_order(name: str) -> None:
    backbone = small(name)
    found, blocks = depths(backbone), backbone.recomputable()
    assert found.keys() == {id(p) for p in backbone.parameters()}
    each = [{found[id(p)] for p in block.parameters()} for block in blocks]
    assert [len(levels) for levels in each] == [1] * len(blocks)
    assert [levels.pop() for levels in each] == list(range(len(blocks), 0, -1))
    assert min(found.values()) == 1
    inject(backbone, 2)
    assert len(backbone.recomputable()) == len(blocks)  # what is added to a matrix is no part of a block
    assert max(depths(backbone).values()) == max(found.values())


def test_a_vision_transformer_has_the_depths_of_the_papers() -> None:
    backbone = small("vit")
    named = {name: depths(backbone)[id(p)] for name, p in backbone.named_parameters()}
    count = len(backbone.blocks)
    for name, depth in named.items():
        part, _, rest = name.partition(".")
        assert depth == {"blocks": count - int(rest.partition(".")[0] or 0) if part == "blocks" else 0, "norm": 1}.get(
            part, count + 1
        ), name


def test_a_backbone_without_blocks_is_named() -> None:
    class Flat(type(small("vit"))):
        def recomputable(self) -> list[nn.Module]:
            return []

    with pytest.raises(InputError, match="Flat names no blocks whose rates could differ"):
        depths(Flat(16, 1, dim=8, depth=1, heads=2))

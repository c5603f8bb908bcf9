"""The contract of a backbone: every registered one keeps it, and each way of breaking it is named."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch
from small import REGISTERED
from torch import nn

from arcformer.models import BACKBONES, Backbone, FeatureMap, TokenBackbone, Tokens
from arcformer.models.check import BrokenContract, check_backbone

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", list(BACKBONES))
def test_registered_backbones_keep_the_contract(name):
    check_backbone(BACKBONES.get(name), **REGISTERED.get(name, {}))


@pytest.mark.parametrize(
    "options",
    [
        {"stem": "patch", "position": "learned", "registers": 2},
        {"stem": "conv", "position": "rotary", "registers": 1, "uneven": "crop"},
    ],
)
def test_vit_keeps_the_contract_with_every_kind_of_part(options):
    check_backbone(BACKBONES.get("vit"), **REGISTERED["vit"], **options)


def test_the_example_keeps_the_contract_in_twenty_lines():
    namespace = runpy.run_path(str(EXAMPLES / "own_backbone.py"), run_name="__main__")
    assert issubclass(namespace["Ladder"], Backbone)
    text = (EXAMPLES / "own_backbone.py").read_text()
    body = text[text.index("class Ladder") : text.index("if __name__")]
    assert len(body.strip().splitlines()) <= 20


class Sound(Backbone):
    """A backbone that keeps the contract; those below break one clause each."""

    stride = 4

    def __init__(self, image_size: int, channels: int):
        super().__init__()
        self.dim = 8
        self.map = nn.Conv2d(channels, 8, 3, stride=4, padding=1)

    def features(self, images, context=None):
        return [FeatureMap(self.map(images), self.stride)]


class WrongStride(Sound):
    stride = 8


class WrongDim(Sound):
    def features(self, images, context=None):
        return [FeatureMap(self.map(images)[:, :4], self.stride)]


class OnlyEven(Sound):
    def features(self, images, context=None):
        if images.shape[2] % 2:
            raise RuntimeError("odd sizes are not for me")
        return super().features(images)


class TakesAnyChannels(Sound):
    def features(self, images, context=None):
        return super().features(images[:, : self.map.in_channels])


class NoisyInEvaluation(Sound):
    def features(self, images, context=None):
        return super().features(images + torch.rand_like(images))


class WritesIntoImages(Sound):
    def features(self, images, context=None):
        maps = super().features(images)
        images.mul_(2)
        return maps


class SeesTheBatch(Sound):
    def features(self, images, context=None):
        return super().features(images - images.mean(0))


class UnusedParameter(Sound):
    def __init__(self, image_size: int, channels: int):
        super().__init__(image_size, channels)
        self.idle = nn.Parameter(torch.zeros(3))


class StateOutsideWeights(Sound):
    def __init__(self, image_size: int, channels: int):
        super().__init__(image_size, channels)
        self.offset = torch.rand(1)

    def features(self, images, context=None):
        return super().features(images + self.offset)


class PositionFromOrder(TokenBackbone):
    def __init__(self, image_size: int, channels: int):
        super().__init__()
        self.dim, self.stride = 8, 4
        self.map = nn.Conv2d(channels, 8, 3, stride=4, padding=1)

    def tokenize(self, images, context=None):
        x = self.map(images)
        grid = (x.shape[2], x.shape[3])
        ids = torch.arange(grid[0] * grid[1]).expand(len(x), -1)
        return Tokens(x.flatten(2).transpose(1, 2), grid, ids, context)

    def encode(self, tokens):
        place = torch.arange(tokens.x.shape[1])[:, None] / 10
        return Tokens(tokens.x + place, tokens.grid, tokens.ids, tokens.context)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (WrongStride, "tile the image with their stride"),
        (WrongDim, "the last with D = dim"),
        (OnlyEven, "sizes that no patch divides.*odd sizes are not for me"),
        (TakesAnyChannels, "another number of channels"),
        (NoisyInEvaluation, "the same images give the same features"),
        (WritesIntoImages, "the images are left as they were"),
        (SeesTheBatch, "do not depend on the other images"),
        (UnusedParameter, "Gradients reach every trained parameter.*idle"),
        (StateOutsideWeights, "loaded into a fresh backbone"),
        (PositionFromOrder, "positions from the ids alone"),
    ],
)
def test_a_broken_clause_is_named(broken, words):
    with pytest.raises(BrokenContract, match=f"{broken.__name__} breaks the clause.*{words}"):
        check_backbone(broken)


def test_checking_keeps_the_contract_and_the_random_state():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    check_backbone(Sound)
    assert torch.equal(torch.rand(1), expected)

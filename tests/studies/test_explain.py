"""Maps of what a network looks at: what they add up to, what moves them, and which networks have which."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.models import BACKBONES, Backbone, FeatureMap
from arcformer.models.attention import NotDefined
from arcformer.studies.explain import MAPS, explain, integrated_gradients, layers, log_odds
from arcformer.studies.pictures import portrait
from arcformer.tasks import Classify

CLASSES = ("no_sub", "cdm", "axion")

CONVOLUTIONAL = ("rcan", "resnet")


def task(name: str = "vit", **options) -> Classify:
    torch.manual_seed(0)
    made = Classify(BACKBONES.get(name)(32, 1, **options), CLASSES).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def lenses(count: int = 2, side: int = 32) -> LensBatch:
    torch.manual_seed(1)
    return LensBatch(torch.randn(count, 1, side, side), classes=CLASSES)


def test_a_network_with_attention_has_every_map_and_a_convolutional_one_all_but_one() -> None:
    for name in BACKBONES:
        maps, missing = explain(task(name), lenses())
        assert list(maps) == [each for each in MAPS if each in maps]
        assert all(found.shape == (2, 32, 32) for found in maps.values())
        assert (maps.keys() == MAPS.keys()) == (name not in CONVOLUTIONAL) == (not missing)
    assert "roll-out: ResNet" in explain(task("resnet"), lenses())[1][0]


def test_what_was_asked_for_is_given_or_refused() -> None:
    assert list(explain(task(), lenses(), ["gradient", "norms"])[0]) == ["gradient", "norms"]
    with pytest.raises(NotDefined, match="ResNet calls no"):
        explain(task("resnet"), lenses(), ["norms", "rollout"])
    with pytest.raises(InputError, match="no map 'roll-out'; did you mean 'rollout'"):
        explain(task(), lenses(), ["roll-out"])


@pytest.mark.parametrize("name", ["vit", "d4vit", "cvt"])
def test_gradients_add_up_to_what_the_image_changes(name: str) -> None:
    """Completeness (Sundararajan et al. 2017, proposition 1): their sum is the log odds, less those of a flat sky."""
    net, batch = task(name), lenses()
    with torch.no_grad():
        logits = net.predict(batch).logits
        best = logits.argmax(1)
        sky = batch.images.flatten(2).median(2).values[..., None, None].expand_as(batch.images)
        gained = log_odds(logits, best) - log_odds(net.predict(LensBatch(sky)).logits, best)
    found = integrated_gradients(net, batch, steps=64).sum((1, 2, 3))
    torch.testing.assert_close(found, gained, rtol=0.01, atol=1e-3)
    assert gained.abs().max() > 0.01


class Linear(Backbone):
    """One cell, whose features are a matrix times the pixels: what each adds is known."""

    dim = 8

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(16, 8)

    def features(self, images: Tensor, context: Tensor | None = None) -> list[FeatureMap]:
        return [FeatureMap(self.map(images.flatten(1))[..., None, None], 4)]


def test_gradients_of_two_classes_and_a_linear_network_are_its_weights() -> None:
    torch.manual_seed(0)
    net = Classify(Linear(), ("a", "b")).eval()
    net.head.norm = nn.Identity()  # type: ignore[assignment]
    batch = LensBatch(torch.randn(3, 1, 4, 4))
    weights = net.head.linear.weight @ net.backbone.map.weight  # type: ignore[operator]
    best = net.predict(batch).logits.argmax(1)
    slope = (weights[best] - weights[1 - best]).view(3, 1, 4, 4)
    sky = batch.images.flatten(2).median(2).values[..., None, None]
    torch.testing.assert_close(integrated_gradients(net, batch), slope * (batch.images - sky))


def test_log_odds() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    expected = torch.tensor([math.log(0.7 / 0.3), math.log(0.8 / 0.2)])
    torch.testing.assert_close(log_odds(p.log() + 5, torch.tensor([0, 2])), expected)


def test_maps_of_an_equivariant_network_turn_with_the_image() -> None:
    net, batch = task("d4vit", dim=64, depth=2), lenses(1)
    straight = explain(net, batch)[0]
    for flip in (lambda x: torch.rot90(x, 1, (-2, -1)), lambda x: x.flip(-1)):
        turned = explain(net, LensBatch(flip(batch.images), classes=CLASSES))[0]
        for name in MAPS:
            gap = (turned[name] - flip(straight[name])).abs().max()
            assert gap < 1e-3 * straight[name].abs().max(), name


def test_a_task_without_classes_has_no_odds() -> None:
    class Distance(nn.Module):
        def predict(self, batch: LensBatch) -> Tensor:
            return batch.images.mean((1, 2, 3))

    with pytest.raises(NotDefined, match="gradient: Distance tells no classes apart"):
        integrated_gradients(Distance(), lenses())  # type: ignore[arg-type]


def test_the_parameters_have_no_gradient_afterwards() -> None:
    net = task()
    explain(net, lenses(1))
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_picture_has_a_panel_for_each_map() -> None:
    batch = lenses(1)
    maps, _ = explain(task(), batch)
    titles = [axes.get_title(loc="left") for axes in portrait(batch, {"cdm": 1.0}, layers(maps)).axes]
    assert [title for title in titles if title] == [layer.label for layer in layers(maps)]

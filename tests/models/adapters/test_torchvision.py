"""Networks of torchvision, which is stood in for."""

from __future__ import annotations

import types

import pytest
import torch
from torch import nn

from arcformer.errors import InputError
from arcformer.models import BACKBONES
from arcformer.models.check import check_backbone


class Steps(nn.Module):
    """As torchvision builds its classifiers: stages, a pooling, a linear map, and an unused number at the side."""

    def __init__(self, width=8):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, 2, 1), nn.GroupNorm(2, 2 * width)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(2 * width, 1000))


@pytest.fixture(autouse=True)
def _torchvision(stand_in):
    def get_model(name, weights=None, **options):
        torch.manual_seed(3 if weights == "DEFAULT" else torch.seed())
        return nn.Sequential(nn.Flatten(), nn.Linear(3, 3)) if name == "vit_b_16" else Steps(**options)

    models = types.SimpleNamespace(list_models=lambda: ["steps18", "vit_b_16"], get_model=get_model)
    stand_in("torchvision", models=models)


def test_keeps_the_contract():
    check_backbone(BACKBONES.get("torchvision:steps18"), config={"width": 4})
    backbone = BACKBONES.get("torchvision:steps18")(48, 1)
    assert [(m.stride, m.x.shape[1]) for m in backbone.features(torch.randn(1, 1, 48, 48))] == [(2, 8), (4, 16)]


def test_pretrained_weights_for_one_channel():
    one, three = (BACKBONES.get("torchvision:steps18")(48, channels, pretrained=True) for channels in (1, 3))
    image = torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(one.features(image)[1].x, three.features(image.expand(-1, 3, -1, -1))[1].x)


def test_what_it_cannot_do_is_refused():
    with pytest.raises(InputError, match="no such network \\(did you mean 'steps18'"):
        BACKBONES.get("torchvision:steps19")(48, 1)
    with pytest.raises(InputError, match=r"cannot be built: .*depth"):
        BACKBONES.get("torchvision:steps18")(48, 1, config={"depth": 1})
    with pytest.raises(InputError, match="torchvision:vit_b_16 has nothing before its head"):
        BACKBONES.get("torchvision:vit_b_16")(48, 1)

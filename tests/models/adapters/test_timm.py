"""Networks of timm, which is stood in for."""

from __future__ import annotations

import types

import pytest
from torch import nn

from arcformer.errors import InputError
from arcformer.models import BACKBONES
from arcformer.models.check import check_backbone


class Maps(nn.Module):
    """As timm wraps its networks: a list of maps, here with channels last, and what is known of them."""

    def __init__(self, channels, width=8):
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, width, 3, 2, 1), nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.feature_info = types.SimpleNamespace(channels=lambda: [width, 2 * width], reduction=lambda: [2, 4])

    def forward(self, x):
        first = self.first(x)
        return [x.permute(0, 2, 3, 1) for x in (first, self.second(first.relu()))]


@pytest.fixture(autouse=True)
def _timm(stand_in):
    def create_model(name, pretrained, features_only, in_chans, **options):
        assert features_only
        assert not pretrained
        if "img_size" in options:
            raise TypeError("__init__() got an unexpected keyword argument 'img_size'")
        return Maps(in_chans, **options)

    stand_in(
        "timm", create_model=create_model, is_model=lambda name: name == "maps",
        list_models=lambda: ["maps"],
    )  # fmt: skip


def test_keeps_the_contract():
    check_backbone(BACKBONES.get("timm:maps"), config={"width": 4})


def test_what_it_cannot_do_is_refused():
    with pytest.raises(InputError, match="timm:map: timm has no such network \\(did you mean 'maps'"):
        BACKBONES.get("timm:map")(48, 1)
    with pytest.raises(InputError, match=r"timm:maps cannot be built: .*depth"):
        BACKBONES.get("timm:maps")(48, 1, config={"depth": 1})

"""Classifiers of torchvision, without their heads: ``torchvision:...``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from arcformer.errors import InputError, maybe
from arcformer.models.adapters.adapter import Foreign, for_source
from arcformer.models.adapters.channels import change_channels
from arcformer.models.adapters.library import library, said_in_words
from arcformer.models.backbone import BACKBONES, Backbone

__all__ = ["Torchvision"]


class Torchvision(Foreign):
    """A classifier of torchvision, up to its pooling.

    Args:
        image_size: side of most images, pixels; the network is tried on it.
        channels: number of channels of the images.
        config: arguments of ``torchvision.models.get_model`` for this network.
        pretrained: load torchvision's default weights. Weights of three channels are added up for one, which is the
            same as showing the image in each.

    Raises:
        InputError: without a torchvision that works; for a name or an option that it does not have, weights that are
            not there, or a network that does not keep the contract, as its vision transformers, which are for one size.
    """

    def __init__(
        self, image_size: int, channels: int, *, config: dict[str, Any] | None = None, pretrained: bool = False
    ):
        super().__init__()
        models = library("torchvision", "torchvision").models
        if self.source not in models.list_models():
            raise InputError(f"{self.title}: torchvision has no such network{maybe(self.source, models.list_models())}")
        with said_in_words(self.title, "cannot be built"):
            network = models.get_model(self.source, weights="DEFAULT" if pretrained else None, **(config or {}))
        steps: list[nn.Module] = []
        for child in network.children():
            if isinstance(child, nn.AdaptiveAvgPool2d | nn.Flatten | nn.Linear) or _is_head(child):
                break
            steps += child if isinstance(child, nn.Sequential) else [child]
        if not steps:
            raise InputError(f"{self.title} has nothing before its head that could be run by itself")
        self.network = nn.Sequential(*steps)
        change_channels(self.network, channels)
        self._adopt(image_size, channels, 1)

    def _maps(self, images: Tensor) -> list[Tensor]:
        maps, x = [], images
        for step in self.network:
            x = step(x)
            maps.append(x)
        return maps


@BACKBONES.register_prefix("torchvision")
def torchvision(source: str) -> type[Backbone]:
    """Any convolutional classifier of torchvision, as torchvision:resnet50."""
    return for_source(Torchvision, "torchvision", source)


def _is_head(module: nn.Module) -> bool:
    """Whether it begins with what makes numbers of maps: a pooling, a flattening, a linear map or its dropout."""
    inner: Iterator[nn.Module] = (each for each in module.modules() if not list(each.children()))
    return isinstance(module, nn.Sequential) and isinstance(
        next(inner, None), nn.Flatten | nn.Linear | nn.Dropout | nn.AdaptiveAvgPool2d
    )

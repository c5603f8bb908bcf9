"""Networks of timm: ``timm:...``."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from arcformer.errors import InputError, maybe
from arcformer.models.adapters.adapter import Foreign, for_source
from arcformer.models.adapters.library import library, words
from arcformer.models.backbone import BACKBONES, Backbone

__all__ = ["Timm"]


class Timm(Foreign):
    """A network of timm, with the maps that its ``features_only`` gives.

    Args:
        image_size: side of most images, pixels; passed on to the networks that want it.
        channels: number of channels of the images.
        config: arguments of ``timm.create_model`` for this network, as ``{drop_path_rate = 0.1}``.
        pretrained: load the weights that belong to the name; timm fits them to the channels.

    Raises:
        InputError: without timm; for a name or an option that it does not have, weights that are not there, or a
            network that does not keep the contract.
    """

    def __init__(
        self, image_size: int, channels: int, *, config: dict[str, Any] | None = None, pretrained: bool = False
    ):
        super().__init__()
        timm = library("timm", "timm")
        if not timm.is_model(self.source):
            raise InputError(f"{self.title}: timm has no such network{maybe(self.source, timm.list_models())}")
        self.network = self._create(timm, image_size, channels, dict(config or {}), pretrained)
        self.widths = list(self.network.feature_info.channels())
        self._adopt(image_size, channels, min(self.network.feature_info.reduction()))

    def _create(self, timm: Any, image_size: int, channels: int, chosen: dict[str, Any], pretrained: bool) -> Any:
        sized = {"img_size": image_size}
        # Transformers of timm are for one size unless they are told otherwise, which its other networks do not take.
        for extra in ({**sized, "dynamic_img_size": True}, {**sized, "strict_img_size": False}, {}):
            arguments = {**extra, **chosen, "in_chans": channels, "pretrained": pretrained, "features_only": True}
            try:
                return timm.create_model(self.source, **arguments)
            except TypeError as error:
                if not extra or not any(name in str(error) for name in extra):
                    raise InputError(f"{self.title} cannot be built: {words(error)}") from error
            except Exception as error:
                raise InputError(f"{self.title} cannot be built: {words(error)}") from error
        raise AssertionError("the last attempt returns or raises")

    def _maps(self, images: Tensor) -> list[Tensor]:
        maps = self.network(images)
        return [  # some networks give channels last
            x if x.shape[1] == width else x.permute(0, 3, 1, 2) for x, width in zip(maps, self.widths, strict=True)
        ]


@BACKBONES.register_prefix("timm")
def timm(source: str) -> type[Backbone]:
    """Any network of timm that gives features, as timm:convnext_tiny."""
    return for_source(Timm, "timm", source)

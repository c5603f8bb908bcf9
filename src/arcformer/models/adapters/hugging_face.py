"""Encoders of images of transformers: ``hf:...``."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from arcformer.errors import InputError, maybe, near
from arcformer.models.adapters.adapter import Foreign, for_source
from arcformer.models.adapters.channels import rechannelled
from arcformer.models.adapters.library import library, said_in_words, words
from arcformer.models.backbone import BACKBONES, Backbone

__all__ = ["HuggingFace"]


CHANNELS = ("num_channels", "in_channels", "in_chans")
"""What configurations of transformers call the number of channels."""


class HuggingFace(Foreign):
    """An encoder of images of transformers.

    ``hf:vit`` is an architecture with the configuration that transformers gives it, ``hf:owner/name`` a model of the
    hub, ``hf:path`` one in a folder, or the configuration in a JSON file. Of pure transformers it has one map; of
    hierarchical networks all that transformers reports, which is, for some, the patches before the first block too.

    Args:
        image_size: side of most images, pixels. Learned positions are laid out for it unless they are pretrained.
        channels: number of channels of the images.
        config: fields of the network's configuration that are to differ, as ``{patch_size = 8}``.
        pretrained: load the weights that belong to the name. Weights of three channels are added up for one, which is
            the same as showing the image in each.

    Raises:
        InputError: without transformers; for what is no encoder of images, a field that it does not have, weights that
            are not there, or a network that does not keep the contract.
    """

    def __init__(
        self, image_size: int, channels: int, *, config: dict[str, Any] | None = None, pretrained: bool = False
    ):
        super().__init__()
        transformers = library("transformers", "hf")
        chosen = dict(config or {})
        settled = self._configuration(transformers, chosen)
        named = next((name for name in CHANNELS if hasattr(settled, name)), None)
        cls = transformers.MODEL_MAPPING.get(type(settled), None)
        if named is None or not isinstance(cls, type) or getattr(cls, "main_input_name", None) != "pixel_values":
            raise InputError(f"{self.title} is no encoder of images that transformers has as a model")
        if named in chosen:
            raise InputError(f"{self.title}: config.{named} follows from the images; leave it out")
        patch = _patch(settled)
        if "image_size" not in chosen and not pretrained and hasattr(settled, "image_size"):
            side = -(-image_size // patch) * patch  # what images are made to fit
            settled.image_size = side if isinstance(settled.image_size, int) else [side, side]
        options = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(cls).parameters else {}
        trained = self._trained(cls, settled, options) if pretrained else None
        setattr(settled, named, channels)
        with said_in_words(self.title, "cannot be built"):
            self.network = cls(settled, **options) if trained is None else rechannelled(trained, cls, settled, options)
        takes = inspect.signature(self.network.forward).parameters
        self.interpolate = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in takes else {}
        self._adopt(image_size, channels, patch)

    def _configuration(self, transformers: Any, chosen: dict[str, Any]) -> Any:
        """The configuration that the name stands for, with ``chosen`` fields."""
        architecture, fields = self.source, {}
        if architecture not in transformers.CONFIG_MAPPING:
            try:
                fields, _ = transformers.PreTrainedConfig.get_config_dict(self.source)
            except Exception as error:
                raise InputError(f"{self.title}: no configuration is found there ({words(error)})") from None
            architecture = fields.get("model_type", "")
            if architecture not in transformers.CONFIG_MAPPING:
                raise InputError(f"{self.title}: its model_type {architecture!r} is none that transformers knows")
        cls = transformers.CONFIG_MAPPING[architecture]
        known = {*cls().to_dict(), *cls.attribute_map}
        for name in chosen:
            if name not in known:
                raise InputError(f"{self.title}: config.{name} is no field of its configuration; {near(name, known)}")
        with said_in_words(self.title, "cannot be configured so"):
            # Through the constructor, so that what follows from a field, as a width from another, follows from it.
            return cls(**{**fields, **chosen})

    def _trained(self, cls: Any, settled: Any, options: dict[str, Any]) -> nn.Module:
        if not _has_weights(self.source):
            raise InputError(
                f"{self.title} names no weights; name a model of the hub, as hf:owner/name, or the folder of one, or "
                "leave pretrained out"
            )
        with said_in_words(self.title, "has no weights that fit"):
            return cls.from_pretrained(
                self.source, config=settled, dtype=torch.float32, use_safetensors=True, **options
            )

    def _maps(self, images: Tensor) -> list[Tensor]:
        outputs = self.network(images, output_hidden_states=True, **self.interpolate)
        hidden = outputs.get("reshaped_hidden_states") or outputs.get("hidden_states") or ()
        maps, x = [each for each in hidden if each.ndim == 4], outputs.last_hidden_state
        if x.ndim == 3:
            reshaped = outputs.get("reshaped_hidden_states")
            h, w = (
                reshaped[-1].shape[2:] if reshaped else (images.shape[2] // self.patch, images.shape[3] // self.patch)
            )
            extra = x.shape[1] - h * w  # class tokens and registers, which come first
            if extra < 0:
                raise InputError(
                    f"{self.title} gives {x.shape[1]} tokens for a grid of {h} x {w}, so it drops or merges"
                )
            x = x[:, extra:].transpose(1, 2).unflatten(2, (h, w))
        return [*maps, x]


@BACKBONES.register_prefix("hf")
def hugging_face(source: str) -> type[Backbone]:
    """Any encoder of images of transformers: an architecture, as hf:swinv2; a model, as hf:owner/name; or a path."""
    transformers = library("transformers", "hf")
    if source not in transformers.CONFIG_MAPPING and "/" not in source and not Path(source).exists():
        raise InputError(
            f"hf:{source} is no architecture of transformers{maybe(source, transformers.CONFIG_MAPPING)}; expected "
            "one, as vit, swinv2, convnextv2, dinov2, resnet or cvt, or a model of the hub, as owner/name, or the path "
            "of a configuration"
        )
    return for_source(HuggingFace, "hf", source)


def _patch(config: Any) -> int:
    """What the sides of images must be multiples of: the stride of the patches, where it is one number."""
    for name in ("patch_stride", "patch_size"):
        sizes = getattr(config, name, None)
        sizes = {sizes} if isinstance(sizes, int) else set(sizes or ())
        if len(sizes) == 1:
            return int(sizes.pop())
    return 1


def _has_weights(source: str) -> bool:
    path = Path(source)
    return path.is_dir() if path.exists() else "/" in source

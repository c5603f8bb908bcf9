"""What a backbone takes and gives, found by showing it an image: for heads that give images."""

from __future__ import annotations

import torch

from arcformer.errors import InputError
from arcformer.models import BACKBONES, Backbone, FeatureMap, TokenBackbone

__all__ = ["channels_and_stride", "shown", "with_tokens"]

MOST_CHANNELS = 16

SIDE = 64


def channels_and_stride(backbone: Backbone) -> tuple[int, int]:
    """Channels of the images that ``backbone`` takes, and the stride of its last feature map.

    Raises:
        InputError: it takes none of 1 to 16 channels.
    """
    channels, maps = shown(backbone)
    return channels, maps[-1].stride


def shown(backbone: Backbone) -> tuple[int, list[FeatureMap]]:
    """Channels of the images that ``backbone`` takes, and its feature maps of one of 64 x 64 pixels, finest first.

    A backbone refuses images of other channels, so one after another is tried. Its state is left alone.

    Raises:
        InputError: it takes none of 1 to 16 channels.
        NotImplementedError: it lies on the meta device, without memory, and cannot be shown anything there.
    """
    training, parameter = backbone.training, next(backbone.parameters(), torch.empty(0))
    refusal: Exception | None = None
    backbone.eval()
    try:
        for channels in range(1, MOST_CHANNELS + 1):
            try:
                with torch.no_grad():
                    image = torch.zeros(1, channels, SIDE, SIDE, device=parameter.device, dtype=parameter.dtype)
                    return channels, backbone.features(image)
            except Exception as error:  # of another network, of any kind
                refusal = error
    finally:
        backbone.train(training)
    if parameter.is_meta:
        raise NotImplementedError(f"{type(backbone).__name__} computes nothing without memory") from refusal
    raise InputError(f"{type(backbone).__name__} takes images of none of 1 to {MOST_CHANNELS} channels ({refusal})")


def with_tokens(backbone: Backbone, objective: str, instead: str) -> TokenBackbone:
    """``backbone``, where it is one that can do without some of its tokens.

    Raises:
        InputError: it is not; with the ``objective`` to be taken ``instead``, and the backbones that would do.
    """
    if isinstance(backbone, TokenBackbone):
        return backbone
    known = [name for name in BACKBONES if issubclass(BACKBONES.get(name), TokenBackbone)]
    raise InputError(
        f"{objective} leaves out tokens, which {type(backbone).__name__} cannot do without; take {instead}, which "
        f"works with every backbone, or one of {', '.join(known)}"
    )

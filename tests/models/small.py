"""Every family of backbones, small: what is tested of all of them takes seconds."""

from __future__ import annotations

import torch

from arcformer.models import BACKBONES, Backbone

REGISTERED = {
    "vit": {"dim": 32, "depth": 2, "heads": 2, "drop_path": 0.1},
    "swin": {"dim": 12, "depths": (2, 2), "heads": (2, 3), "drop_path": 0.1},
    "cvt": {"dims": (16, 32), "depths": (1, 1), "heads": (1, 2), "drop_path": 0.1},
    "crossvit": {"dims": (16, 32), "depths": (1, 1), "heads": 2, "drop_path": 0.1},
    "resnet": {"width": 8},
    "swinir": {"dim": 12, "depths": (2, 1), "window": 4, "channel_attention": True, "drop_path": 0.1},
    "rcan": {"dim": 8, "groups": 2, "depth": 1},
    "d4vit": {"dim": 32, "depth": 2, "drop_path": 0.1},
    "sourceformer": {"dim": 32, "depth": 2, "heads": 2, "drop_path": 0.1},
}
"""Options of the registered ones; without any, a backbone is taken as it is by default."""

VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "patch_size": 8}
FOREIGN = {
    "hf:vit": {"config": VIT},
    "hf:swinv2": {"config": {"embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}},
    "hf:convnextv2": {"config": {"hidden_sizes": [8, 16, 16], "depths": [1, 1, 1], "num_stages": 3}},
}
"""Options of a few networks of transformers."""

FAMILIES = [*BACKBONES, *FOREIGN]


def small(name: str, channels: int = 1, **options) -> Backbone:
    """A backbone for images of 32 pixels, with weights of order one tenth, so that every part of it matters."""
    torch.manual_seed(0)
    backbone = BACKBONES.get(name)(32, channels, **{**REGISTERED.get(name, {}), **FOREIGN.get(name, {}), **options})
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return backbone

"""transformers' ViT and Swin Transformer V2 of our configurations: oracles of the tests, peers of the benchmarks.

A configuration is said in our options; from it follow our backbone and theirs, with the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import transformers
from torch import Tensor, nn

from arcformer.models import Backbone, SwinV2, VisionTransformer, load_transformers_weights
from arcformer.models.windows import PositionBias

__all__ = [
    "AS_THEIRS",
    "PUBLISHED",
    "SMALL",
    "SWIN",
    "VIT",
    "Case",
    "drawn",
    "features",
    "pair",
    "swin_config",
    "vit_config",
]

AS_THEIRS = {"stem": "patch", "position": "learned", "registers": 1}
"""Options of a ViT as transformers has it: one linear map a patch, a table of positions, a class token."""

VIT = {"dim": 32, "depth": 2, "heads": 4, "mlp": 48, "patch": 8, "eps": 1e-12}
SWIN = {"dim": 12, "depths": (2, 2), "heads": (2, 3), "window": 4, "patch": 4, "mlp_ratio": 2.0}
"""Of small ones."""


@dataclass(frozen=True)
class Case:
    """A configuration and the images that it is shown.

    Attributes:
        kind: the architecture.
        built: side of the images that it is built for, pixels.
        called: height and width of those that it is shown; None: as built.
        channels: of either.
        options: of our constructor, all but those that are the same for every ViT of transformers.
    """

    kind: Literal["vit", "swin"]
    built: int
    called: tuple[int, int] | None = None
    channels: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    def ours(self) -> Backbone:
        """Our backbone, its weights as they are drawn."""
        if self.kind == "vit":
            return VisionTransformer(self.built, self.channels, **{**AS_THEIRS, **self.options})  # type: ignore
        return SwinV2(self.built, self.channels, **self.options)

    def theirs(self) -> nn.Module:
        """transformers' model without a head."""
        if self.kind == "vit":
            config = vit_config(self.built, self.channels, self.options)
            return transformers.ViTModel(config, add_pooling_layer=False)
        return transformers.Swinv2Model(swin_config(self.built, self.channels, self.options), add_pooling_layer=False)


def vit_config(size: int, channels: int, options: Mapping[str, Any], **more: Any) -> transformers.ViTConfig:
    """Theirs, for a ViT of our ``options``."""
    return transformers.ViTConfig(
        image_size=size, num_channels=channels, hidden_size=options["dim"], num_hidden_layers=options["depth"],
        num_attention_heads=options["heads"], intermediate_size=options["mlp"], patch_size=options["patch"],
        layer_norm_eps=options["eps"], **more,
    )  # fmt: skip


def swin_config(size: int, channels: int, options: Mapping[str, Any], **more: Any) -> transformers.Swinv2Config:
    """Theirs, for a Swin Transformer V2 of our ``options``."""
    return transformers.Swinv2Config(
        image_size=size, num_channels=channels, embed_dim=options["dim"], depths=options["depths"],
        num_heads=options["heads"], window_size=options["window"], patch_size=options["patch"],
        mlp_ratio=options["mlp_ratio"], **more,
    )  # fmt: skip


def _vit(built: int, called: tuple[int, int] | None = None, channels: int = 1, **options: Any) -> Case:
    return Case("vit", built, called, channels, VIT | options)


def _swin(built: int, called: tuple[int, int] | None = None, channels: int = 1, **options: Any) -> Case:
    return Case("swin", built, called, channels, SWIN | options)


SMALL = {
    "vit 24x24": _vit(24),
    "vit 24x24 rgb": _vit(24, channels=3, depth=3, heads=2, dim=24),
    "vit 40x40, built for 24": _vit(24, (40, 40)),
    "vit 16x48, built for 24": _vit(24, (16, 48), 2),
    "vit 20x20 patch 5": _vit(20, patch=5, eps=1e-6),
    "swin 64x64": _swin(64),
    "swin 64x96, built for 64": _swin(64, (64, 96), 3),
    "swin 48x48 window 3": _swin(48, window=3),
    "swin 64x64 windows of 8, 8 and 4": _swin(64, depths=(2, 1, 3), heads=(1, 2, 4), window=8),
    "swin 32x32 patch 2": _swin(32, channels=2, patch=2, depths=(3, 2), heads=(3, 4)),
}
"""What the tests compare: every option that the weights do not show, in seconds."""

PUBLISHED = {
    "vit 64x64 (small)": _vit(64, dim=384, depth=12, heads=6, mlp=1536),
    "vit 150x150 (classifier-3x3)": _vit(150, dim=768, depth=3, heads=3, mlp=1024, patch=16, uneven="crop"),
    "vit 224x224 (base)": _vit(224, dim=768, depth=12, heads=12, mlp=3072, patch=16),
    "swin 64x64 (tiny)": _swin(64, dim=96, mlp_ratio=4.0, heads=(3, 6)),
    "swin 256x256 (small)": _swin(256, dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), window=8, mlp_ratio=4.0),
}
"""Our sizes, in brackets; their patches are 8, 16, 16, 4 and 4 pixels."""


def drawn(model: nn.Module, seed: int = 1) -> nn.Module:
    """The model with all its parameters drawn: biases and norms begin at 0 and 1, which would hide a wrong mapping.

    Scales of cosines are between 1 and more than the 100 at which they are clamped.
    """
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if name.endswith("logit_scale"):
            nn.init.uniform_(parameter, 0, 6)
        else:
            nn.init.normal_(parameter, std=0.2)
    return model.eval()


def pair(case: Case, dtype: torch.dtype = torch.float32) -> tuple[Backbone, nn.Module]:
    """Our backbone and theirs with the same weights, drawn at random.

    In float64 they also share the table of scaled steps between cells, which transformers rounds to float32.
    """
    theirs, ours = drawn(case.theirs()).to(dtype), case.ours().to(dtype).eval()
    load_transformers_weights(ours, theirs.state_dict())
    if dtype == torch.float64:
        tables = [buffer for name, buffer in theirs.named_buffers() if name.endswith("relative_coords_table")]
        biases = [module for module in ours.modules() if isinstance(module, PositionBias)]
        for bias, table in zip(biases, tables, strict=True):
            bias.steps = table.view_as(bias.steps)
    return ours, theirs


@torch.no_grad()
def features(case: Case, dtype: torch.dtype = torch.float32) -> list[tuple[Tensor, Tensor]]:
    """Our maps and theirs of the same images, (B, D, h, w) each: every stage before its grid is merged.

    The last one is behind the final norm. Of images that a patch does not divide, transformers leaves out the far
    edge; so it is shown what we keep of them, the middle, with an edge of zeros.
    """
    ours, theirs = pair(case, dtype)
    height, width = case.called or (case.built, case.built)
    images = torch.randn(2, case.channels, height, width, dtype=dtype)
    maps = [each.x for each in ours.features(images)]  # type: ignore[operator]
    if case.kind == "vit":
        height, width = (side % case.options["patch"] for side in (height, width))
        middle = images[..., height // 2 :, width // 2 :]
        middle = torch.nn.functional.pad(middle, (0, width // 2, 0, height // 2))
        tokens = theirs(middle, interpolate_pos_encoding=case.called is not None).last_hidden_state[:, 1:]
        return [(maps[0], tokens.transpose(1, 2).unflatten(2, maps[0].shape[2:]))]
    flags = {"output_hidden_states": True, "output_hidden_states_before_downsampling": True}
    stages = theirs.encoder(*theirs.embeddings(images), **flags).reshaped_hidden_states[1:]  # type: ignore[operator]
    last = theirs(images).last_hidden_state.transpose(1, 2).unflatten(2, maps[-1].shape[2:])
    return list(zip(maps, [*stages[:-1], last], strict=True))

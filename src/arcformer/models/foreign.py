"""Weights of transformers' models in the backbones of this library.

>>> peer = transformers.ViTModel.from_pretrained("google/vit-base-patch16-224")
>>> backbone = VisionTransformer(
...     224, 3, size="base", patch=16, stem="patch", position="learned", registers=1, eps=1e-12
... )
>>> load_transformers_weights(backbone, peer.state_dict())

What the weights do not show has to be right in the options: the heads of a ViT and the ``eps`` of its norms (1e-12
unless its configuration says otherwise), the image size and windows of a Swin Transformer. On larger images, a stage
that had one window shifts its windows here, and does not in transformers. transformers itself is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from arcformer.errors import InputError, nearest
from arcformer.models.backbone import Backbone
from arcformer.models.position import Learned
from arcformer.models.swin import SwinV2
from arcformer.models.vit import PatchStem, VisionTransformer

__all__ = ["load_transformers_weights"]


def load_transformers_weights(backbone: Backbone, state_dict: Mapping[str, Tensor]) -> None:
    """Give ``backbone`` the weights of transformers' model of the same architecture, all of them.

    Args:
        backbone: a ``VisionTransformer`` with ``stem="patch"``, ``position="learned"`` and ``registers=1``, which is
            the class token, for weights of ``ViTModel`` or ``ViTForImageClassification``; a ``SwinV2`` for those of
            ``Swinv2Model`` or ``Swinv2ForImageClassification``. Built for the image size and channels of the weights;
            learned positions are interpolated to other sizes when it is called.
        state_dict: tensors by their names in transformers, of version 5 or as older ones wrote them into files. Heads,
            poolers and mask tokens are left out.

    Raises:
        InputError: for another backbone, and for weights that are missing, of another shape or without a place; the
            backbone is then left as it was.
    """
    if isinstance(backbone, VisionTransformer):
        if not isinstance(backbone.stem, PatchStem) or not isinstance(backbone.position, Learned):
            raise InputError("vit takes weights of transformers when built with stem='patch' and position='learned'")
        if backbone.registers is None or len(backbone.registers) != 1:
            raise InputError("vit takes weights of transformers when built with registers=1, their class token")
        theirs = _Weights("vit", state_dict, OLDER_VIT)
        ours = _vit(backbone, theirs)
    elif isinstance(backbone, SwinV2):
        theirs = _Weights("swinv2", state_dict)
        ours = _swin(backbone, theirs)
    else:
        raise InputError(f"weights of transformers fit VisionTransformer and SwinV2, not {type(backbone).__name__}")
    theirs.require_empty()
    backbone.load_state_dict(ours)


OLDER_VIT = [
    ("encoder.layer.", "layers."),
    ("attention.attention.query.", "attention.q_proj."),
    ("attention.attention.key.", "attention.k_proj."),
    ("attention.attention.value.", "attention.v_proj."),
    ("attention.output.dense.", "attention.o_proj."),
    ("intermediate.dense.", "mlp.fc1."),
    ("output.dense.", "mlp.fc2."),
]
"""Parts of names in files written before transformers 5, and what has become of them; in this order."""

LEFT_OUT = ("pooler.", "classifier.", "embeddings.mask_token")


class _Weights:
    """Named tensors that are taken one by one; what is missing, has another shape or is left over is an InputError."""

    def __init__(self, kind: str, state_dict: Mapping[str, Tensor], renamed: list[tuple[str, str]] | None = None):
        self.kind = kind
        prefix = f"{kind}."
        if any(
            name.startswith(prefix) for name in state_dict
        ):  # a whole model: its heads have names without the prefix
            state_dict = {n.removeprefix(prefix): t for n, t in state_dict.items() if n.startswith(prefix)}
        self.left = {_renamed(n, renamed or []): t for n, t in state_dict.items() if not n.startswith(LEFT_OUT)}

    def take(self, name: str, shape: torch.Size) -> Tensor:
        """The tensor of that name, which must have that shape."""
        if name not in self.left:
            close = nearest(name, self.left) or next(iter(self.left), None)
            raise InputError(
                f"weights of transformers' {self.kind}: {name} is expected, of shape {tuple(shape)}, and missing; of "
                f"{len(self.left)} others the nearest is {close}; are they of this architecture and configuration?"
            )
        tensor = self.left.pop(name)
        if tensor.shape != shape:
            raise InputError(
                f"weights of transformers' {self.kind}: {name} has shape {tuple(tensor.shape)}, the backbone expects "
                f"{tuple(shape)}; build it with the configuration of the weights"
            )
        return tensor

    def require_empty(self) -> None:
        """Raise unless every tensor has been taken."""
        if self.left:
            names = ", ".join(sorted(self.left)[:3]) + (", ..." if len(self.left) > 3 else "")
            raise InputError(
                f"weights of transformers' {self.kind}: the backbone has no place for {len(self.left)} of them, "
                f"{names}; build it with the configuration of the weights"
            )


def _renamed(name: str, pairs: list[tuple[str, str]]) -> str:
    for before, after in pairs:
        name = name.replace(before, after)
    return name


def _vit(backbone: VisionTransformer, theirs: _Weights) -> dict[str, Tensor]:
    dim, height, width = backbone.position.table.shape
    place = theirs.take("embeddings.position_embeddings", torch.Size((1, 1 + height * width, dim)))[0]
    ours = {
        # The class token has a position of its own; ours is their sum.
        "registers": theirs.take("embeddings.cls_token", torch.Size((1, 1, dim)))[0] + place[:1],
        "position.table": place[1:].T.unflatten(1, (height, width)),
    }
    names = {"stem": "embeddings.patch_embeddings.projection", "norm": "layernorm"}
    for i in range(len(backbone.blocks)):
        names |= {
            f"blocks.{i}.norm1": f"layers.{i}.layernorm_before",
            f"blocks.{i}.norm2": f"layers.{i}.layernorm_after",
            f"blocks.{i}.attention.out": f"layers.{i}.attention.o_proj",
            f"blocks.{i}.mlp.0": f"layers.{i}.mlp.fc1",
            f"blocks.{i}.mlp.2": f"layers.{i}.mlp.fc2",
        }
    ours |= _modules(backbone, theirs, names)
    for i in range(len(backbone.blocks)):
        for kind, shape in (("weight", (dim, dim)), ("bias", (dim,))):
            parts = [theirs.take(f"layers.{i}.attention.{part}_proj.{kind}", torch.Size(shape)) for part in "qkv"]
            ours[f"blocks.{i}.attention.qkv.{kind}"] = torch.cat(parts)
    return ours


def _swin(backbone: SwinV2, theirs: _Weights) -> dict[str, Tensor]:
    names = {"stem": "embeddings.patch_embeddings.projection", "stem_norm": "embeddings.norm", "norm": "layernorm"}
    ours = {}
    for s, depth in enumerate(backbone.depths):
        if s:  # a grid is merged at the end of their stages, at the beginning of ours
            names[f"stages.{s}.merge.linear"] = f"encoder.layers.{s - 1}.downsample.reduction"
            names[f"stages.{s}.merge.norm"] = f"encoder.layers.{s - 1}.downsample.norm"
        for i in range(depth):
            our, their = f"stages.{s}.blocks.{i}", f"encoder.layers.{s}.blocks.{i}"
            names |= {
                f"{our}.attention.q": f"{their}.attention.self.query",
                f"{our}.attention.k": f"{their}.attention.self.key",
                f"{our}.attention.v": f"{their}.attention.self.value",
                f"{our}.attention.out": f"{their}.attention.output.dense",
                f"{our}.attention.position.mlp.0": f"{their}.attention.self.continuous_position_bias_mlp.0",
                f"{our}.attention.position.mlp.2": f"{their}.attention.self.continuous_position_bias_mlp.2",
                f"{our}.norm1": f"{their}.layernorm_before",
                f"{our}.norm2": f"{their}.layernorm_after",
                f"{our}.mlp.0": f"{their}.intermediate.dense",
                f"{our}.mlp.2": f"{their}.output.dense",
            }
            heads = backbone.get_parameter(f"{our}.attention.log_scale").shape
            scale = theirs.take(f"{their}.attention.self.logit_scale", torch.Size((*heads, 1, 1)))
            ours[f"{our}.attention.log_scale"] = scale.flatten()
    return ours | _modules(backbone, theirs, names)


def _modules(backbone: Backbone, theirs: _Weights, names: Mapping[str, str]) -> dict[str, Tensor]:
    """The parameters of the modules on the left, from those of the same kind on the right."""
    return {
        f"{our}.{kind}": theirs.take(f"{their}.{kind}", parameter.shape)
        for our, their in names.items()
        for kind, parameter in backbone.get_submodule(our).named_parameters(recurse=False)
    }

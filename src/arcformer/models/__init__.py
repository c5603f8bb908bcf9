"""Backbones and heads. Importing this package registers every backbone of the library."""

from arcformer.models.backbone import BACKBONES, Backbone, FeatureMap, TokenBackbone, Tokens
from arcformer.models.equivariant import EquivariantTransformer
from arcformer.models.heads import PoolHead
from arcformer.models.lensing import Lensformer
from arcformer.models.vit import VisionTransformer

__all__ = [
    "BACKBONES",
    "Backbone",
    "EquivariantTransformer",
    "FeatureMap",
    "Lensformer",
    "PoolHead",
    "TokenBackbone",
    "Tokens",
    "VisionTransformer",
]

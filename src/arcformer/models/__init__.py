"""Backbones and heads. Importing this package registers every backbone of the library."""

from arcformer.models import adapters  # noqa: F401
from arcformer.models.backbone import BACKBONES, Backbone, FeatureMap, TokenBackbone, Tokens
from arcformer.models.crossvit import CrossViT
from arcformer.models.cvt import ConvolutionalVisionTransformer
from arcformer.models.equivariant import EquivariantTransformer
from arcformer.models.foreign import load_transformers_weights
from arcformer.models.heads import FineHead, PixelHead, PoolHead
from arcformer.models.rcan import RCAN
from arcformer.models.resnet import ResNet
from arcformer.models.source_plane import Sourceformer
from arcformer.models.swin import SwinV2
from arcformer.models.swinir import SwinIR
from arcformer.models.vit import VisionTransformer

__all__ = [
    "BACKBONES",
    "RCAN",
    "Backbone",
    "ConvolutionalVisionTransformer",
    "CrossViT",
    "EquivariantTransformer",
    "FeatureMap",
    "FineHead",
    "PixelHead",
    "PoolHead",
    "ResNet",
    "Sourceformer",
    "SwinIR",
    "SwinV2",
    "TokenBackbone",
    "Tokens",
    "VisionTransformer",
    "load_transformers_weights",
]

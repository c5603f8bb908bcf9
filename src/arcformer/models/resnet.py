"""The residual network (ResNet; He et al. 2016, arXiv 1512.03385): the convolutional yardstick of the transformers.

Basic blocks, as in ResNet-18 and ResNet-34. It is the network of most published work on lens images, so that what a
transformer gains can be said against it, under the same contract, recipe and data.

Shapes: B images, C channels, H x W pixels, a grid of h x w cells of width D.
"""

from __future__ import annotations

from typing import Literal, TypedDict

from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.errors import InputError, chosen
from arcformer.models.backbone import BACKBONES, Backbone, FeatureMap
from arcformer.models.fitting import check_channels
from arcformer.models.norm import NORMS

__all__ = ["SIZES", "ResNet"]


class Size(TypedDict):
    width: int
    depths: tuple[int, ...]
    stem: Literal["7x7", "3x3"]
    stem_stride: int


SIZES: dict[str, Size] = {
    "tiny": {"width": 20, "depths": (2, 2, 2, 2), "stem": "3x3", "stem_stride": 2},
    "resnet18": {"width": 64, "depths": (2, 2, 2, 2), "stem": "7x7", "stem_stride": 2},
}
"""Width of the first stage, blocks of each stage and stem by name."""


@BACKBONES.register("resnet")
class ResNet(Backbone):
    """A residual network of basic blocks, in stages of which each halves the grid and doubles the width.

    ``features`` gives a map for each stage; the strides are that of the stem (with its max pool), twice that, ...

    Args:
        image_size: side of most images, pixels; nothing depends on it.
        channels: number of channels of the images.
        size: ``tiny`` (1.1 M parameters, for images of 48 to 64 pixels) or ``resnet18`` (11 M, the published one);
            ``width``, of the first stage, ``depths``, the blocks of each stage, ``stem`` and ``stem_stride`` override
            it.
        stem: ``7x7``, a convolution and a max pool of stride 2, as published; or ``3x3``, a convolution alone, which
            keeps small images large.
        stem_stride: of the convolution of the stem. ``3x3`` with 1 is the stem for images of 32 pixels or of features
            as small as a pixel, at four times the cost of 2.
        norm: ``batch`` as published, or ``group``, over each image alone.

    Raises:
        InputError: for options that do not fit together.
    """

    def __init__(
        self,
        image_size: int,
        channels: int,
        *,
        size: Literal["tiny", "resnet18"] = "tiny",
        width: int | None = None,
        depths: tuple[int, ...] | None = None,
        stem: Literal["7x7", "3x3"] | None = None,
        stem_stride: int | None = None,
        norm: Literal["batch", "group"] = "batch",
    ):
        super().__init__()
        preset = chosen(SIZES, size, "size of resnet")
        width = preset["width"] if width is None else width
        depths = tuple(depths or preset["depths"])
        stem = preset["stem"] if stem is None else stem
        stride = preset["stem_stride"] if stem_stride is None else stem_stride
        if min(width, *depths, stride) < 1:
            raise InputError(f"resnet: sizes must be positive, got {width=}, {depths=}, stem_stride={stride}")
        self.channels, self.stride = channels, stride
        kernel = 7 if stem == "7x7" else 3
        layers = [
            nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False),
            chosen(NORMS, norm, "norm of resnet")(width),
            nn.ReLU(),
        ]
        if stem == "7x7":
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
            self.stride *= 2
        self.stem = nn.Sequential(*layers)
        widths = [width * 2**i for i in range(len(depths))]
        self.stages = nn.ModuleList()
        for i, (before, after, depth) in enumerate(zip([width, *widths], widths, depths, strict=False)):
            first = BasicBlock(before, after, 1 if i == 0 else 2, norm)
            self.stages.append(nn.Sequential(first, *(BasicBlock(after, after, 1, norm) for _ in range(depth - 1))))
        self.dim = widths[-1]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, images: Tensor, context: Tensor | None = None) -> list[FeatureMap]:
        """A map for each stage; ``context`` is not looked at.

        Raises:
            InputError: for another number of channels.
        """
        check_channels("resnet", images, self.channels)
        maps, x = [], self.stem(images)
        for i, stage in enumerate(self.stages):
            x = stage(x)
            maps.append(FeatureMap(x, self.stride * 2**i))
        return maps


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut around them, a 1 x 1 convolution where the shape changes."""

    def __init__(self, before: int, after: int, stride: int, norm: str):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm1 = NORMS[norm](after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = NORMS[norm](after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), NORMS[norm](after))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, D, h, w), h = H / stride rounded up."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))

"""What every network behind a task is: images in, feature maps out. And the registry of them.

Two contracts. A ``Backbone`` gives feature maps, finest first, so that hierarchical networks are backbones too. A
``TokenBackbone`` reaches its one feature map in two steps, ``tokenize`` and ``encode``, between which an objective may
drop tokens or replace them; the backbone itself knows nothing of masking.

Configuration follows the constructor: ``image_size`` and ``channels`` are what the program knows, keyword-only
parameters are what the user chooses. ``check_backbone`` is both contracts as a callable.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from arcformer.registry import Registry

__all__ = ["BACKBONES", "Backbone", "FeatureMap", "TokenBackbone", "Tokens"]


@dataclass
class FeatureMap:
    """Features on a grid.

    Attributes:
        x: (B, D, h, w).
        stride: pixels of the image per cell of the grid, on each axis.
    """

    x: Tensor
    stride: int

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w)."""
        return self.x.shape[2], self.x.shape[3]

    def mean(self) -> Tensor:
        """The mean over the cells, (B, D), float32: what an image is to whoever wants one vector of it."""
        return self.x.float().mean((2, 3))


@dataclass
class Tokens:
    """Some or all cells of a grid, as a sequence; N is h * w until tokens are dropped.

    Attributes:
        x: (B, N, D).
        grid: (h, w) of the whole grid, dropped cells included.
        ids: (B, N) int64, the cell of each token, row * w + column. Positions follow from it, not from the order.
        context: (B, K) numbers that describe the observation, or None.
    """

    x: Tensor
    grid: tuple[int, int]
    ids: Tensor
    context: Tensor | None = None

    def at(self, rows: Tensor) -> Tokens:
        """The tokens at ``rows`` (B, M) of the sequence."""
        x = self.x.gather(1, rows[..., None].expand(-1, -1, self.x.shape[2]))
        return Tokens(x, self.grid, self.ids.gather(1, rows), self.context)


class Backbone(nn.Module, ABC):
    """Images to feature maps.

    A subclass is constructed as ``cls(image_size, channels, *, options...)``. ``image_size`` is the side in pixels that
    most images will have, not a limit: every size that holds at least one cell of the coarsest grid must work when
    called. Images with another number of channels are refused.

    Attributes:
        dim: channels of the last feature map.
        training_options: names of options that do not change what the network does when it is not trained; weights fit
            whatever these are.
    """

    dim: int
    training_options: ClassVar[tuple[str, ...]] = ("drop_path", "pretrained")

    @abstractmethod
    def features(self, images: Tensor, context: Tensor | None = None) -> list[FeatureMap]:
        """Feature maps of ``images`` (B, C, H, W), finest first; ``context`` is (B, K) or None."""

    def forward(self, images: Tensor, context: Tensor | None = None) -> list[FeatureMap]:
        """The same as ``features``."""
        return self.features(images, context)

    def recomputable(self) -> list[nn.Module]:
        """The blocks, modules that are called, which may be computed again in the backward pass (``recompute.py``).

        Unless overridden, what stands in a ``nn.ModuleList`` or ``nn.Sequential`` and has parts of its own; of blocks
        within blocks the inner ones.
        """
        lists = [module for module in self.modules() if isinstance(module, nn.ModuleList | nn.Sequential)]
        found = dict.fromkeys(each for members in lists for each in members if _has_parts(each))
        return [block for block in found if not any(part in found for part in block.modules() if part is not block)]


def _has_parts(module: nn.Module) -> bool:
    """Whether a module has parts of its own; what is added to its weights (``lora.py``) is none."""
    return any(name != "parametrizations" for name, _ in module.named_children())


class TokenBackbone(Backbone):
    """A backbone that works on tokens and can do with some of them; ``features`` follows from its two steps.

    Attributes:
        stride: pixels of the image per token, on each axis.
    """

    stride: int

    @abstractmethod
    def tokenize(self, images: Tensor, context: Tensor | None = None) -> Tokens:
        """All tokens of ``images`` (B, C, H, W), in the order of their ids. Each looks at its own surroundings only."""

    @abstractmethod
    def encode(self, tokens: Tokens) -> Tokens:
        """The tokens given, all or some, each informed by the others; same order, same ids."""

    def features(self, images: Tensor, context: Tensor | None = None) -> list[FeatureMap]:
        """One feature map: every token, encoded, in its place."""
        tokens = self.encode(self.tokenize(images, context))
        return [FeatureMap(tokens.x.transpose(1, 2).unflatten(2, tokens.grid), self.stride)]


BACKBONES: Registry[type[Backbone]] = Registry("backbone")

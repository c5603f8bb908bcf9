"""What makes a network of another library a backbone.

What the contract asks for and a library does not say is found out when the network is built, by showing it two images:
which of its maps tile the image, at which strides, and which weights they depend on. Poolers, mask tokens and heads, on
which no map depends, are frozen. A network that does not keep the contract is refused then.

Shapes: B images, C channels, H x W pixels, maps of h x w cells of width D.
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from arcformer.errors import InputError
from arcformer.models.adapters.library import said_in_words
from arcformer.models.backbone import Backbone, FeatureMap
from arcformer.models.fitting import check_channels, fit

__all__ = ["Foreign", "for_source"]


class Foreign(Backbone):
    """A network of another library. A subclass builds it, then calls ``_adopt``.

    Attributes:
        source: what stands after the prefix.
        title: prefix and source.
        cell: what images are made to fit, a cell of the coarsest map, pixels.
    """

    prefix: ClassVar[str]
    source: ClassVar[str]
    title: ClassVar[str]
    cell: int

    @abstractmethod
    def _maps(self, images: Tensor) -> list[Tensor]:
        """What the network finds in ``images`` (B, C, H, W), in its own order; the last is its result, (B, D, h, w)."""

    def features(self, images: Tensor, context: Tensor | None = None) -> list[FeatureMap]:
        """The last map of each stride; ``context`` is not looked at.

        Images are padded to whole cells of the coarsest map, for some networks cut off what does not fill one.

        Raises:
            InputError: for another number of channels, or images smaller than a cell of the coarsest map.
        """
        check_channels(self.title, images, self.channels)
        height, width = images.shape[-2:]
        if min(height, width) < self.taken[-1][1]:
            raise InputError(
                f"{self.title}: an image of {height} x {width} pixels holds no cell of {self.taken[-1][1]}; pad it"
            )
        maps = self._maps(fit(images, self.cell))
        return [FeatureMap(maps[i], stride) for i, stride in self.taken]

    def _adopt(self, image_size: int, channels: int, patch: int) -> None:
        """Look at two images of 2 : 1, so that axes can be told apart, and at one of the size that it is built for.

        Args:
            patch: what the sides of images must be multiples of, as far as the library says.
        """
        self.channels, self.patch = channels, patch
        side = patch
        while side < 64:
            side *= 2
        training = self.training
        self.eval()
        device = next(self.parameters()).device
        images = torch.linspace(-1, 1, 2 * channels * 2 * side * side, device=device).view(2, channels, side, 2 * side)
        with torch.random.fork_rng(devices=[]), torch.enable_grad(), self._looking_at(side, 2 * side):
            maps, again = self._maps(images), self._maps(images)
        strides = [_stride(x, side) for x in maps]
        last = strides[-1]
        if last is None:
            raise InputError(
                f"{self.title} gives {tuple(maps[-1].shape)} for {side} x {2 * side} pixels, which is no map"
            )
        if device.type != "meta" and not torch.equal(maps[-1], again[-1]):
            raise InputError(f"{self.title} sees something else in the same image each time: it drops or shuffles")
        at_stride = {stride: i for i, stride in enumerate(strides) if stride is not None and stride <= last}
        self.taken = sorted(((i, stride) for stride, i in at_stride.items()), key=lambda pair: pair[1])
        self.dim, self.cell = maps[-1].shape[1], math.lcm(patch, last)
        reached = _reached([maps[i] for i, _ in self.taken])
        for parameter in self.parameters():
            if id(parameter) not in reached or parameter.numel() == 0:
                parameter.requires_grad_(False)
        with torch.random.fork_rng(devices=[]), torch.no_grad(), self._looking_at(image_size, image_size):
            self.features(torch.zeros(1, channels, image_size, image_size, device=device))
        self.train(training)

    def _looking_at(self, height: int, width: int) -> said_in_words:
        return said_in_words(self.title, f"does not take {self.channels} channel(s) of {height} x {width} pixels")


@functools.cache
def for_source(cls: type[Foreign], prefix: str, source: str) -> type[Foreign]:
    """The class for one network: options follow from its constructor, as of any other backbone."""
    title = f"{prefix}:{source}"
    return type(cls.__name__, (cls,), {"source": source, "title": title, "__doc__": cls.__doc__})


def _stride(x: Tensor, side: int) -> int | None:
    """The stride of a map (B, D, h, w) on images of ``side`` x 2 ``side``, or None if it is no map of them."""
    if x.ndim != 4 or x.shape[3] != 2 * x.shape[2] or side % x.shape[2]:
        return None
    return side // x.shape[2]


def _reached(maps: list[Tensor]) -> set[int]:
    """The ids of the parameters that ``maps`` were computed from, found in their graph without a backward pass."""
    waiting: list[Any] = [x.grad_fn for x in maps if x.grad_fn is not None]
    seen, found = set(waiting), set()
    while waiting:
        node = waiting.pop()
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        fresh = {after for after, _ in node.next_functions if after is not None} - seen
        seen |= fresh
        waiting += fresh
    return found

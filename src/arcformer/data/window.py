"""Images on another grid of pixels, their flux kept: an output pixel sums the input pixels under it by area.

Cropping, binning, resampling to another pixel scale and padding are one thing, a window of square output pixels laid
over the input. Where these cover whole input pixels, the window is a crop and a sum; elsewhere an input pixel's flux is
shared among the output pixels by area.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["Window"]

WHOLE = 1e-3  # ratios nearer than this to a whole number are that number: 0.06 pixels at the end of 64
SLIVER = 1e-3  # the share of an output pixel's area that does not matter


@dataclass(frozen=True)
class Window:
    """Output pixels over an input of ``shape`` = (H, W) pixels; input pixel i reaches from i to i + 1.

    Attributes:
        shape: of the input.
        size: (h, w) of the output.
        ratio: side of an output pixel, in input pixels.
        start: (1, 2) or (B, 2) float64 on the CPU, where the window begins: y, x in input pixels.
    """

    shape: tuple[int, int]
    size: tuple[int, int]
    ratio: float
    start: Tensor

    @classmethod
    def about(
        cls,
        shape: tuple[int, int],
        size: tuple[int, int] | None = None,
        ratio: float = 1.0,
        centre: Tensor | None = None,
    ) -> Window:
        """A window about ``centre``, (B, 2) y and x in pixels, 0 in the middle of the first; None: of the image.

        ``size`` None takes as many whole output pixels as the input has room for.
        """
        whole = max(round(ratio), 1)
        ratio = float(whole) if abs(ratio - whole) < WHOLE else ratio
        size = size or (int(shape[0] / ratio + WHOLE), int(shape[1] / ratio + WHOLE))
        extent = torch.tensor(size, dtype=torch.float64) * ratio
        middle = torch.tensor([shape], dtype=torch.float64) / 2 if centre is None else centre.cpu().double() + 0.5
        return cls(shape, size, ratio, middle - extent / 2)

    def on_whole_pixels(self) -> Window:
        """Where output pixels are a whole number of input pixels wide, the window moved to begin at a whole one too.

        It moves by half an input pixel at most, and no input pixel is divided: nothing is smoothed.
        """
        return replace(self, start=torch.ceil(self.start - 0.5 - WHOLE)) if self.ratio.is_integer() else self

    def finer(self, factor: int) -> Window:
        """The same window over the same sky at ``factor`` times the resolution."""
        (height, width), (h, w) = self.shape, self.size
        return Window((height * factor, width * factor), (h * factor, w * factor), self.ratio, self.start * factor)

    @property
    def is_identity(self) -> bool:
        """Whether every output pixel is the input pixel of the same place."""
        return self.size == self.shape and self.ratio == 1 and not self.start.any()

    def sum(self, planes: Tensor, power: int = 1) -> Tensor:
        """Sums (B, C, h, w) of planes (B, C, H, W) over the output pixels; nothing comes from outside the input.

        An input pixel counts with the share of its area to the power of ``power``: 1 for flux, 2 for variance.
        """
        if self._is_crop():
            (y, x), r = self.start[0].int().tolist(), int(self.ratio)
            h, w = self.size
            part = planes[..., y : y + h * r, x : x + w * r]
            return functools.reduce(torch.add, (part[..., i::r, j::r] for i in range(r) for j in range(r)))
        rows, columns = (self._shares(axis).pow(power).to(planes) for axis in (0, 1))
        return rows @ planes @ columns.mT

    def covered(self) -> Tensor:
        """Whether an output pixel lies on the input, bool (1 or B, 1, h, w)."""
        rows, columns = (self._shares(axis).sum(-1, keepdim=True) for axis in (0, 1))
        return rows @ columns.mT > (1 - SLIVER) * self.ratio**2

    def any(self, mask: Tensor) -> Tensor:
        """Whether an output pixel lies on an input pixel where ``mask`` (B, C, H, W) is True."""
        return self.sum(mask.float()) > SLIVER * self.ratio**2

    def _is_crop(self) -> bool:
        inside = (self.start >= 0) & (self.start + torch.tensor(self.size) * self.ratio <= torch.tensor(self.shape))
        whole = self.ratio.is_integer() and bool((self.start == self.start.round()).all())
        return len(self.start) == 1 and whole and bool(inside.all())

    def _shares(self, axis: int) -> Tensor:
        """(1 or B, 1, outputs, inputs): how much of an input row (or column) lies in an output row (or column)."""
        edges = self.start[:, axis, None] + self.ratio * torch.arange(self.size[axis] + 1)
        below = (edges[:, :, None] - torch.arange(self.shape[axis])).clamp(0, 1)  # of an input row, before an edge
        return below.diff(dim=1)[:, None]

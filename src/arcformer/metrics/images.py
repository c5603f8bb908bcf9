"""How near an image is to the true one: PSNR, SSIM, flux, and what of the structure at each scale is there.

Everything is of one image at a time, (B,), and is averaged afterwards, so that a bright lens counts as much as a faint
one. Shapes: B images, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import MeanMetric

__all__ = ["ImageMean", "data_range", "flux_error", "power", "psnr", "ssim"]


SIGMA, REACH = 1.5, 5
"""Of the windows of SSIM: their width, and how far they reach, pixels."""

DARK, FLAT = 0.01**2, 0.03**2
"""What keeps dark and flat windows from being divided by nothing, K1^2 and K2^2."""


def data_range(true: Tensor) -> Tensor:
    """The greatest less the least pixel of each true image, (B,): what published images that are in [0, 1] call one."""
    low, high = torch.aminmax(true.flatten(1), dim=1)
    return torch.where(high > low, high - low, 1.0)


def psnr(found: Tensor, true: Tensor) -> Tensor:
    """Peak signal to noise ratio of each image, dB: 10 log10(range^2 / mean squared error).

    The range is that of the true image itself (``data_range``). An image that is found exactly has 200 dB.
    """
    missed = (found - true).flatten(1).square().mean(1) / data_range(true).square()
    return -10 * missed.clamp_min(1e-20).log10()


def ssim(found: Tensor, true: Tensor) -> Tensor:
    """Structural similarity of each image (Wang et al. 2004), in Gaussian windows of 1.5 pixels.

    Both images are brought to the range of the true one, its least pixel to 0 and its greatest to 1. The numbers are
    torchmetrics', the way to them is not: windows along an axis are a matrix, which is several times faster, and more
    so to train by.
    """
    low, unit = true.flatten(1).amin(1).view(-1, 1, 1, 1), data_range(true).view(-1, 1, 1, 1)
    x, y = ((image.float() - low) / unit for image in (found, true))
    rows, columns = (_windows(side, x) for side in x.shape[-2:])
    with torch.autocast(x.device.type, enabled=False):  # variances are small differences
        planes = torch.stack([x, y, x * x, y * y, x * y])
        mean_x, mean_y, xx, yy, xy = rows @ planes @ columns.mT
    var_x, var_y = (xx - mean_x * mean_x).clamp_min(0), (yy - mean_y * mean_y).clamp_min(0)
    light = (2 * mean_x * mean_y + DARK) / (mean_x * mean_x + mean_y * mean_y + DARK)
    structure = (2 * (xy - mean_x * mean_y) + FLAT) / (var_x + var_y + FLAT)
    return (light * structure).flatten(1).mean(1)


def flux_error(found: Tensor, true: Tensor) -> Tensor:
    """(found - true) / |true|, of the sum of all pixels of each image."""
    missing, whole = ((image.double().flatten(1).sum(1)) for image in (found - true, true))
    return (missing / whole.abs().clamp_min(1e-30)).to(found)


def power(images: Tensor, bins: int) -> Tensor:
    """The power of each image in rings of spatial frequency, (B, bins), of equal width from 0 to Nyquist.

    Frequencies beyond Nyquist, in the corners, and the mean of the image are left out.
    """
    height, width = images.shape[-2:]
    spectrum = torch.fft.fft2(images.double()).abs().square().sum(1)
    y, x = (torch.fft.fftfreq(side, dtype=torch.float64, device=images.device) for side in (height, width))
    frequency = torch.hypot(y[:, None], x)
    ring = (frequency * 2 * bins).long()
    kept = (frequency > 0) & (ring < bins)
    found = spectrum.new_zeros(len(images), bins)
    return found.index_add(1, ring[kept], spectrum[:, kept])


def _windows(side: int, like: Tensor) -> Tensor:
    """Means of pixels along an axis under a Gaussian about each, (side, side); beyond the edge they are mirrored."""
    reach = min(REACH, side - 1)
    step = torch.arange(-reach, reach + 1, device=like.device)
    weights = (-(step**2) / (2 * SIGMA**2)).exp()
    pixel = (torch.arange(side, device=like.device)[:, None] + step).abs()
    pixel = torch.where(pixel < side, pixel, 2 * (side - 1) - pixel)
    matrix = torch.zeros(side, side, device=like.device)
    return matrix.scatter_add_(1, pixel, (weights / weights.sum()).expand(side, -1)).to(like)


class ImageMean(MeanMetric):
    """The mean over images of a ``measure`` of each, from (found, true) to (B,)."""

    def __init__(self, measure: Callable[[Tensor, Tensor], Tensor]):
        super().__init__()
        self.measure = measure

    def update(self, found: Tensor, true: Tensor) -> None:  # type: ignore[override]
        """Take in images (B, C, H, W)."""
        super().update(self.measure(found, true))

"""How near an image is to the true one: PSNR, SSIM, flux, and what of the structure at each scale is there.

Everything is of one image at a time, (B,), and is averaged afterwards, so that a bright lens counts as much as a faint
one. Shapes: B images, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.functional.image import structural_similarity_index_measure

__all__ = ["ImageMean", "data_range", "flux_error", "power", "psnr", "ssim"]


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

    Both images are brought to the range of the true one, its least pixel to 0 and its greatest to 1.
    """
    low, unit = true.flatten(1).amin(1).view(-1, 1, 1, 1), data_range(true).view(-1, 1, 1, 1)
    ours, theirs = ((image.float() - low) / unit for image in (found, true))
    values = structural_similarity_index_measure(ours, theirs, data_range=1.0, reduction="none")
    assert isinstance(values, Tensor)
    return values.reshape(len(true))


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


class ImageMean(MeanMetric):
    """The mean over images of a ``measure`` of each, from (found, true) to (B,)."""

    def __init__(self, measure: Callable[[Tensor, Tensor], Tensor]):
        super().__init__()
        self.measure = measure

    def update(self, found: Tensor, true: Tensor) -> None:  # type: ignore[override]
        """Take in images (B, C, H, W)."""
        super().update(self.measure(found, true))

"""From a latent vector to an image: what normal images have in common is in the decoder, the rest in a few numbers."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.models.fitting import centred
from arcformer.models.position import sincos
from arcformer.tasks.anomaly.cosines import Cosines, LeastSquares
from arcformer.tasks.anomaly.moments import Moments
from arcformer.tasks.anomaly.statistic import Fitted

__all__ = ["Family", "LatentDecoder"]

PINNED = 1e-2
"""Latent vectors scatter along every axis by this share of their largest scatter, at least."""

RIDGE = 1e-5
"""Of the least squares, as a share of the mean of the diagonal."""


class LatentDecoder(nn.Module):
    """Latent vectors (B, L) to images (B, C, H, W) of any size, cell by cell.

    A perceptron is told the place of a cell and, by scales and shifts of all its layers, the latent vector; it gives
    the pixels of the cell (pixel shuffle). There is no norm and no attention: it is smooth in the latent vector, and
    its Jacobian, forward mode, costs L passes.

    Args:
        latent: L.
        channels: C.
        stride: side of a cell, pixels.
        width: of the perceptron.
        layers: of it.
    """

    def __init__(self, latent: int, channels: int, stride: int, *, width: int = 128, layers: int = 3):
        super().__init__()
        self.stride, self.width = stride, width
        self.told = nn.Sequential(
            nn.Linear(latent, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 2 * layers * width),
        )
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.leave = nn.Linear(width, channels * stride**2)

    def forward(self, z: Tensor, height: int, width: int) -> Tensor:
        grid = (-(-height // self.stride), -(-width // self.stride))
        x = sincos(grid, self.width, z.device)[None]  # (1, N, W)
        scales, shifts = self.told(z)[:, None].chunk(2, -1)
        for layer, scale, shift in zip(
            self.layers, scales.chunk(len(self.layers), -1), shifts.chunk(len(self.layers), -1), strict=True
        ):
            x = x + F.silu(layer(x) * (1 + scale) + shift)
        planes = self.leave(x).transpose(1, 2).unflatten(2, grid)
        return centred(F.pixel_shuffle(planes, self.stride), height, width)


class Family(Fitted):
    """A family of images: brightness times what a decoder makes of a latent vector, above a level.

    image = sky + a (decoder(z) + A f(z)), a the brightness of the image. f are ``Cosines`` of z, and A, zero in
    training, is afterwards what makes the misses of the decoder least: a linear problem, solved exactly, in memory of
    M (M + pixels) numbers for M features. Images are ``centred`` where they are of another size than those.

    Args:
        latent: L.
        channels: C.
        stride: side of a cell, pixels.
        features: M.
    """

    mean: Tensor
    precision: Tensor
    scale: Tensor
    missed: Tensor

    def __init__(self, latent: int, channels: int, stride: int, features: int):
        super().__init__()
        self.features = features
        self.decoder = LatentDecoder(latent, channels, stride)
        self.sky = nn.Parameter(torch.zeros(channels, 1, 1))
        self.register_buffer("mean", torch.zeros(latent))
        self.register_buffer("precision", torch.zeros(latent, latent))
        self.register_buffer("scale", torch.ones(()))
        self.cosines = Cosines(latent, features)
        self.register_buffer("missed", torch.zeros(0, channels, 0, 0))

    def forward(self, z: Tensor, height: int, width: int) -> Tensor:
        """(B, C, H, W) of brightness and latent vectors (B, 1 + L)."""
        return self.sky + z[:, :1, None, None] * self.shape(z[:, 1:], height, width)

    def shape(self, z: Tensor, height: int, width: int) -> Tensor:
        """The image (B, C, H, W) of latent vectors (B, L), for a brightness of 1 and no sky."""
        shape = self.decoder(z, height, width)
        if not len(self.missed):
            return shape
        return shape + centred(torch.tensordot(self._told(z), self.missed, 1), height, width)

    def as_bright(self, z: Tensor, images: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The images of latent vectors (B, L), as bright as ``images``, by weighted least squares; and (B, 1 + L)."""
        shape = self.shape(z, *images.shape[-2:])
        weight = weight / weight.flatten(1).mean(1).clamp_min(1e-12)[:, None, None, None]
        product = (weight * shape * (images - self.sky)).flatten(1).mean(1)
        brightness = (product / ((weight * shape.square()).flatten(1).mean(1) + 1e-6))[:, None]
        return self.sky + brightness[..., None, None] * shape, torch.cat([brightness, z], 1)

    def forget(self) -> None:
        """Take what was fitted for unknown again."""
        self.missed, self.precision = self.missed[:0], torch.zeros_like(self.precision)

    def locate(self, vectors: Iterable[Tensor]) -> None:
        """Take mean and covariance of the latent vectors (B, L) of normal images."""
        moments = Moments()
        for z in vectors:
            moments.add(z)
        variances, axes = torch.linalg.eigh(moments.covariance)
        variances = variances.clamp_min(PINNED**2 * float(variances[-1]) + 1e-12)
        self.mean = moments.mean.to(self.mean)
        self.scale = variances[-1].sqrt().to(self.scale)
        self.precision = ((axes / variances) @ axes.T).to(self.precision).contiguous()

    def prior(self) -> tuple[Tensor, Tensor]:
        """Mean and inverse covariance of brightness and latent vector; of the brightness nothing is known."""
        return F.pad(self.mean, (1, 0)), F.pad(self.precision, (1, 0, 1, 0))

    def solve(self, pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Find A from brightness and latent vectors (B, 1 + L) and images (B, C, H, W) that they should have given."""
        found = LeastSquares(RIDGE)
        for z, images in pairs:
            found.add(z[:, :1] * self._told(z[:, 1:]), images - self(z, *images.shape[-2:]))
        self.missed = found.solve().to(self.missed).contiguous()

    def _told(self, z: Tensor) -> Tensor:
        """f (B, M)."""
        return self.cosines((z - self.mean) / self.scale)

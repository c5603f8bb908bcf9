"""From a latent vector to an image: what all normal images have in common is in the decoder, the rest in a few numbers."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.models.fitting import centred
from arcformer.models.position import sincos

__all__ = ["LatentDecoder"]


class LatentDecoder(nn.Module):
    """Latent vectors (B, L) to images (B, C, H, W) of any size, cell by cell.

    A perceptron is told the place of a cell and, by scales and shifts of all its layers, the latent vector; it gives the
    pixels of the cell (pixel shuffle). There is no norm and no attention: it is smooth in the latent vector, and its
    Jacobian, forward mode, costs L passes.

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

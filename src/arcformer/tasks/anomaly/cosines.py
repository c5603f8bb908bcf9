"""A smooth function of a few numbers as a linear map of cosines of these, and the least squares that find the map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Cosines", "LeastSquares"]


class Cosines(nn.Module):
    """Cosines of random combinations of z (B, L), (B, M) (Rahimi & Recht 2007); z is to scatter by about one."""

    ways: Tensor
    phases: Tensor

    def __init__(self, numbers: int, features: int):
        super().__init__()
        self.register_buffer("ways", torch.randn(numbers, features))
        self.register_buffer("phases", 2 * torch.pi * torch.rand(features))

    def forward(self, z: Tensor) -> Tensor:
        return torch.cos(z @ self.ways + self.phases)


class LeastSquares:
    """The map (M, C, H, W) from features to images with the least squared error, from sums over batches, float64.

    Args:
        ridge: added to the diagonal, as a share of its mean.
    """

    def __init__(self, ridge: float):
        self.ridge, self.sums = ridge, (torch.zeros(()), torch.zeros(()))

    def add(self, features: Tensor, images: Tensor) -> None:
        """Take in features (B, M) and the images (B, C, H, W) that are to follow from them."""
        features, self.shape = features.double(), images.shape[1:]
        new = features.T @ features, features.T @ images.flatten(1).double()
        self.sums = tuple(kept.to(more) + more for kept, more in zip(self.sums, new, strict=True))

    def solve(self) -> Tensor:
        """(M, C, H, W)."""
        square, product = self.sums
        ridge = self.ridge * square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype, device=square.device)
        return torch.linalg.solve(square + ridge, product).unflatten(1, self.shape)

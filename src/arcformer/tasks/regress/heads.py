"""Heads of regression: from pooled features of an image to a density of its standardised targets, and to samples.

All are one: a Gaussian, its place and shape told by the features, which the flow bends. With y the targets and u in the
axes of the Gaussian,

    y = m + s L u,    z = f(u),    z ~ N(0, 1),    log p(y) = log N(z) + log |df / du| - log |s L|,

m and the triangular L (P, P) of each image, s (P,) the spread, alike for all images and 1 until it is calibrated. A
Gaussian below the flow lets narrow posteriors be as easy as wide ones: the splines of the flow see numbers of order
one. N images, S samples, F features, P targets.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.lazy import LazyComposedTransform
from zuko.transforms import MonotonicRQSTransform

__all__ = ["HEADS", "FlowHead", "GaussianHead", "Head", "PointHead"]

AT_ONCE = 1 << 14
"""Samples that are drawn together; more of them would leave the cache."""

NARROWEST = 1e-4
"""Least width of a posterior along an axis, in standard deviations of the target over the training images."""


class Head(nn.Module, ABC):
    """A density of P standardised targets.

    Args:
        targets: P.

    Attributes:
        inputs: F, how many features it takes of an image.
    """

    inputs: int
    spread: Tensor

    def __init__(self, targets: int):
        super().__init__()
        self.targets = targets
        self.register_buffer("spread", torch.ones(targets))

    @abstractmethod
    def gaussian(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """m (N, P) and L (N, P, P), with a positive diagonal, of images with these features (N, F)."""

    def bent(self, u: Tensor, features: Tensor) -> tuple[Tensor, Tensor | float]:
        """z and log |df / du|, at u (N, P)."""
        return u, 0.0

    def unbent(self, z: Tensor, features: Tensor) -> Tensor:
        """u (N, S, P) at z (S, P)."""
        return z.expand(len(features), *z.shape)

    def log_prob(self, features: Tensor, values: Tensor, spread: Tensor | None = None) -> Tensor:
        """log p (N,) of standardised values (N, P), nats; ``spread`` None: the calibrated one."""
        u, volume = self._centred(features, values, self.spread if spread is None else spread)
        z, stretch = self.bent(u, features)
        return log_normal(z) + stretch - volume

    def sample(self, features: Tensor, noise: Tensor) -> Tensor:
        """Samples (N, S, P) made of normal ``noise`` (S, P), the same for every image."""
        found = [self._sampled(some, noise) for some in features.split(max(1, AT_ONCE // len(noise)))]
        return torch.cat(found)

    def loss(self, features: Tensor, values: Tensor) -> Tensor:
        """What is trained: the mean of -log p without a spread, nats."""
        return -self.log_prob(features, values, torch.ones_like(self.spread)).mean()

    def calibrate(self, features: Tensor, values: Tensor) -> None:
        """Fit what is not trained, but for the spread, to validation images. Nothing, where not overridden."""

    def _centred(self, features: Tensor, values: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """u (N, P) at values (N, P), and log |s L|, (N,)."""
        place, shape = self.gaussian(features)
        shape = spread[:, None] * shape
        u = torch.linalg.solve_triangular(shape, (values - place)[..., None], upper=False)[..., 0]
        return u, shape.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def _sampled(self, features: Tensor, noise: Tensor) -> Tensor:
        place, shape = self.gaussian(features)
        u = self.unbent(noise, features)
        return place[:, None] + u @ (self.spread[:, None] * shape).mT


class PointHead(Head):
    """m alone, trained by Huber's loss; L is what the residuals of validation images show, alike for all images."""

    shape: Tensor

    def __init__(self, targets: int):
        super().__init__(targets)
        self.inputs = targets
        self.register_buffer("shape", torch.eye(targets))

    def gaussian(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return features, self.shape.expand(len(features), -1, -1)

    def loss(self, features: Tensor, values: Tensor) -> Tensor:
        """Huber's (1964), linear where a value is wrong by more than one standard deviation of the target."""
        return F.huber_loss(features, values)

    @torch.no_grad()
    def calibrate(self, features: Tensor, values: Tensor) -> None:
        """L L^T is the mean of r r^T over images, r the residuals."""
        residuals = (values - features).double()
        square = residuals.T @ residuals / len(residuals)
        floor = NARROWEST**2 * torch.eye(self.targets, dtype=square.dtype, device=square.device)
        self.shape.copy_(torch.linalg.cholesky(square + floor))


class GaussianHead(Head):
    """m and L of every image, by maximum likelihood: L = diag(w) (1 + strictly lower triangle)."""

    def __init__(self, targets: int):
        super().__init__(targets)
        self.inputs = self.told = 2 * targets + targets * (targets - 1) // 2

    def gaussian(self, features: Tensor) -> tuple[Tensor, Tensor]:
        p = self.targets
        place, width, below = features[:, : self.told].split([p, p, self.told - 2 * p], dim=1)
        rows, columns = torch.tril_indices(p, p, -1, device=features.device)
        unit = torch.eye(p, device=features.device, dtype=features.dtype).repeat(len(features), 1, 1)
        unit[:, rows, columns] = below
        width = F.softplus(width + math.log(math.e - 1)) + NARROWEST  # 1 where features are 0
        return place, width[..., None] * unit


class FlowHead(GaussianHead):
    """A Gaussian that is bent by neural splines in coupling layers (Durkan et al. 2019, arXiv 1906.04032), of zuko.

    It begins as the Gaussian. A coupling layer is undone in one pass, so that samples cost as much as densities. One
    target alone has a single spline, which depends on the image and not on the sample.

    Args:
        targets: P.
        transforms: coupling layers.
        bins: pieces of each spline, between -5 and 5 standard deviations.
        context: features that tell the splines of the image.
        width: hidden units of the two layers that make splines of them.
    """

    def __init__(self, targets: int, *, transforms: int = 3, bins: int = 8, context: int = 16, width: int = 64):
        super().__init__(targets)
        self.inputs = self.told + context
        with torch.device("cpu"):  # on the meta device zuko could not count what it masks
            layers = [
                GeneralCouplingTransform(
                    targets,
                    context,
                    mask=torch.arange(targets) % 2 == k % 2,  # pyright: ignore[reportArgumentType]
                    univariate=MonotonicRQSTransform,
                    shapes=[torch.Size([bins]), torch.Size([bins]), torch.Size([bins - 1])],
                    hidden_features=(width, width),
                )
                for k in range(transforms if targets > 1 else 1)
            ]
        for layer in layers:
            for last in layer.hyper[-1].parameters():
                nn.init.zeros_(last)
        self.flow = LazyComposedTransform(*layers).to(torch.get_default_device())

    def loss(self, features: Tensor, values: Tensor) -> Tensor:
        """The mean of -log p of the flow and of the Gaussian below it, half of each.

        A flow alone is content with several places as soon as the network knows a position but for its sign, and slow
        to leave them: in the 300 steps on ``deeplense/model-1`` that taught a Gaussian where the source is (R2 .90) it
        came to an R2 of .08, and with this loss to .86 (four coupling layers). A Gaussian that is to be right by itself
        has to learn the sign.
        """
        u, volume = self._centred(features, values, torch.ones_like(self.spread))
        z, stretch = self.bent(u, features)
        return (volume - (log_normal(u) + log_normal(z) + stretch) / 2).mean()

    def bent(self, u: Tensor, features: Tensor) -> tuple[Tensor, Tensor | float]:
        return self.flow(features[:, self.told :]).call_and_ladj(u)

    def unbent(self, z: Tensor, features: Tensor) -> Tensor:
        return self.flow(features[:, None, self.told :]).inv(super().unbent(z, features))


def log_normal(z: Tensor) -> Tensor:
    """log N(z) (N,) of z (N, P), nats."""
    return -z.square().sum(-1) / 2 - z.shape[-1] / 2 * math.log(2 * math.pi)


HEADS: dict[str, type[Head]] = {"point": PointHead, "gaussian": GaussianHead, "flow": FlowHead}

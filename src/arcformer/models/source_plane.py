"""A transformer that undoes the lens: it looks at the sky as it is seen, and as it was before it was bent.

Lensiformer (Velôso de Souza, Toomey & Gleyzer 2023, workshop Machine Learning and the Physical Sciences at NeurIPS)
traces the image back through a singular isothermal sphere and hands the source to a transformer. Here the lens is an
ellipsoid with shear, estimated from the image, and the source is gathered by matrix products and not scattered, so that
every number is deterministic and its gradient reaches the lens. In half widths of the image, theta in it, beta behind:

    lens     (theta_E, e1, e2, x, y, gamma1, gamma2) = bounded( network(image) )
    inverse  beta(theta) = theta - alpha(theta)                                       ``deflection``
    source   S_u = sum_p w_u(beta_p) I_p / sum_p w_u(beta_p),   u on a grid of |beta| < theta_E, where a round
             isothermal lens makes two images or more
    residual R_p = I_p - sum_u w_u(beta_p) S_u,   w_u(beta) = hat(beta_x - u_x) hat(beta_y - u_y), linear between cells
    taught   by sum R^2 / sum I^2 + 2 <b^2 / (1 + b^2)>,   b = |beta| / theta_E, the mean weighted by I^2

Why this helps to tell kinds of dark matter apart: the images of one place of the source have one brightness, under any
smooth lens. What is left over is noise and what that lens lacks, subhalos or vortices; the stem sees R next to I. Half
of the heads turn queries and keys by theta (rotary positions) and half by beta: to these, images of one place of the
source are neighbours, so that they can tell which of them differs, where R only says that they do.

What the lens is taught needs no labels: one that is too strong or too weak brings bright and dark sky together. Much
too weak, it explains the arcs as a source of their shape; hence the second term, by which sources are small.

Shapes: B images, C channels, H x W pixels, P = H W of them, N tokens of width D, K heads of width E, a source of G x G.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.errors import InputError, chosen
from arcformer.models.backbone import BACKBONES, Backbone, FeatureMap
from arcformer.models.fitting import check_channels, fit
from arcformer.models.vit import SIZES, Block, ConvStem, initialise

__all__ = ["PARAMETERS", "Inversion", "Sourceformer", "deflection"]

PARAMETERS = ("theta_E", "e1", "e2", "x", "y", "gamma1", "gamma2")
THETA_E, ROUND = (0.05, 0.95), 1 / 3  # smallest and largest Einstein radius, and that of the lens at the beginning
ELLIPTICITY, OFFSET, SHEAR = 0.4, 0.3, 0.25  # largest moduli; this ellipticity is an axis ratio of 0.43
CORE = 0.01
TERMS = 10  # of the series of arctan: its rest is below ELLIPTICITY^10 / 21, 5e-6 Einstein radii


def deflection(lens: Mapping[str, Tensor], x: Tensor, y: Tensor, core: float = CORE) -> tuple[Tensor, Tensor]:
    """Deflection (B, P) of a singular isothermal ellipsoid with external shear about the origin, at (x, y), (P,) each.

    With the plane in complex numbers, Z = (x - x0) + i (y - y0) and the ellipticity e = e1 + i e2 of modulus
    (1 - q) / (1 + q), the angular series of Tessore & Metcalf (2015, A&A 580, A79, eq. 13, for t = 1) adds up to

        alpha = theta_E sqrt(1 - |e|^2) W / |W| arctan(sqrt(T)) / sqrt(T),  T = conj(e) W / conj(W),  W = Z - e conj(Z).

    Neither axis ratio nor position angle is in it, and so it is smooth through the round lens, e = 0, where those are
    not; arctan(sqrt(T)) / sqrt(T) = 1 - T / 3 + T^2 / 5 - ..., and |T| = |e| is small.

    Args:
        lens: ``PARAMETERS`` by name, (B,) each; ``theta_E`` of the circle that encloses as much.
        core: within which it bends less than it should; the derivative at the centre of the lens is infinite without.
    """
    radius, e1, e2, x0, y0, gamma1, gamma2 = (lens[name][:, None] for name in PARAMETERS)
    dx, dy = x - x0, y - y0
    wx, wy = (1 - e1) * dx - e2 * dy, (1 + e1) * dy - e2 * dx
    inverse = (wx**2 + wy**2 + core**2).rsqrt()
    wx, wy = wx * inverse, wy * inverse
    c, s = wx**2 - wy**2, 2 * wx * wy  # of W / conj(W)
    tx, ty = e1 * c + e2 * s, e1 * s - e2 * c
    ax, ay = torch.full_like(tx, 1 / (2 * TERMS + 1)), torch.zeros_like(ty)
    for n in reversed(range(TERMS)):
        ax, ay = 1 / (2 * n + 1) - (tx * ax - ty * ay), -(tx * ay + ty * ax)
    strength = radius * (1 - e1**2 - e2**2).sqrt()
    halo_x, halo_y = strength * (wx * ax - wy * ay), strength * (wx * ay + wy * ax)
    return halo_x + gamma1 * x + gamma2 * y, halo_y + gamma2 * x - gamma1 * y


@dataclass
class Inversion:
    """An image taken apart by a smooth lens.

    Attributes:
        lens: ``PARAMETERS`` by name, (B,) each, in half widths of the image; the ellipticity's modulus is
            (1 - q) / (1 + q), x grows with the column, y with the row, both from the centre.
        source: (B, C, G, G), for -theta_E to theta_E on either axis, above the sky.
        model: (B, C, H, W), the source seen through the lens, above the sky.
        residual: (B, C, H, W), the image less the sky (its median) and the model.
        misfit: (B,), the residual's share of the image's power.
        spread: (B,), how far out the source is, the second of the terms that the lens is taught by, from 0 to 1.
    """

    lens: dict[str, Tensor]
    source: Tensor
    model: Tensor
    residual: Tensor
    misfit: Tensor
    spread: Tensor


@BACKBONES.register("sourceformer")
class Sourceformer(Backbone):
    """A transformer that inverts the lens, and sees what a smooth one cannot explain.

    Args:
        image_size: side of most images, pixels; nothing here depends on it.
        channels: number of channels of the images.
        size: ``tiny`` (0.9 M parameters), ``small`` (23 M) or ``base`` (90 M), as of ``vit``; ``dim``, ``depth``,
            ``heads`` and ``mlp``, the hidden width of the perceptrons (4 ``dim`` by default), each override it.
        patch: side of a patch, pixels; a power of two.
        source: cells on a side of the source's grid.
        teach: in training, this many times ``misfit + 2 spread``, the mean of the images, is added to the gradient of
            whatever the task's loss is. It moves the estimator of the lens alone; 0 leaves that to the task.
        drop_path: probability with which the last block is skipped in training, per image; earlier ones in proportion.

    Raises:
        InputError: for options that do not fit together.
    """

    training_options = (*Backbone.training_options, "teach")

    def __init__(
        self,
        image_size: int,
        channels: int,
        *,
        size: Literal["tiny", "small", "base"] = "tiny",
        dim: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        mlp: int | None = None,
        patch: int = 8,
        source: int = 24,
        teach: float = 1.0,
        drop_path: float = 0.0,
    ):
        super().__init__()
        preset = chosen(SIZES, size, "size of sourceformer")
        dim = preset.dim if dim is None else dim
        depth = preset.depth if depth is None else depth
        heads = preset.heads if heads is None else heads
        mlp = 4 * dim if mlp is None else mlp
        if min(dim, depth, heads, mlp) < 1 or source < 2:
            given = f"{dim=}, {depth=}, {heads=}, {mlp=}, {source=}"
            raise InputError(f"sourceformer: sizes must be positive, and the source at least 2 cells wide, got {given}")
        if patch < 2 or patch & (patch - 1) or dim % (patch // 2):
            raise InputError(f"sourceformer: patch must be a power of two, and dim divisible by its half, got {patch=}")
        if heads % 2 or dim % (4 * heads):
            raise InputError(f"sourceformer: heads must be even and dim a multiple of 4 * heads, got {dim=}, {heads=}")
        if teach < 0:
            raise InputError(f"sourceformer: teach must not be negative, got {teach}")
        if not 0 <= drop_path < 1:
            raise InputError(f"sourceformer: drop_path is a probability in [0, 1), got {drop_path}")
        self.dim, self.stride, self.channels, self.cells, self.teach = dim, patch, channels, source, teach
        self.heads, self.pairs = heads, dim // heads // 2
        self.estimator = LensEstimator(channels, max(8, dim // 8))
        self.gain = nn.Parameter(torch.full((channels,), 4.0))
        self.stem = ConvStem(2 * channels, dim, patch)
        self.place = nn.Linear(4 * self.pairs, dim)
        rates = [drop_path * (i + 1) / depth for i in range(depth)]
        self.blocks = nn.ModuleList(Block(dim, heads, mlp, rate) for rate in rates)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.stem.apply(initialise)
        self.blocks.apply(initialise)

    def features(self, images: Tensor, context: Tensor | None = None) -> list[FeatureMap]:
        """One feature map of ``images`` (B, C, H, W), padded with zeros to patches; ``context`` is not looked at.

        Raises:
            InputError: for another number of channels.
        """
        found = self.invert(images)
        power = (found.model + found.residual).square().mean((1, 2, 3), keepdim=True)
        left = found.residual * self.gain[:, None, None] * (power + 1e-12).rsqrt()
        x = self.stem(fit(torch.cat([images, left.to(images.dtype)], 1), self.stride))
        grid = (x.shape[2], x.shape[3])
        angle = self._angles(found.lens, *_places(images.shape[-2:], images.device, self.stride))  # (B, 2, N, E / 2)
        turn = (angle.cos(), angle.sin())
        x = x.flatten(2).transpose(1, 2) + self.place(torch.cat(turn, 3).transpose(1, 2).flatten(2))
        turn = tuple(table.repeat_interleave(self.heads // 2, 1) for table in turn)  # half by theta, half by beta
        if self.training and self.teach:
            x = _Taught.apply(x, self.teach * (found.misfit + 2 * found.spread).mean())
        for block in self.blocks:
            x = block(x, turn)
        return [FeatureMap(self.norm(x).transpose(1, 2).unflatten(2, grid), self.stride)]

    def lens_parameters(self, images: Tensor) -> dict[str, Tensor]:
        """The lens that is estimated from images (B, C, H, W): ``PARAMETERS`` by name, (B,), see ``Inversion``.

        Raises:
            InputError: for another number of channels.
        """
        check_channels("sourceformer", images, self.channels)
        return bounded(self.estimator(images).float())

    def invert(self, images: Tensor, lens: Mapping[str, Tensor] | None = None) -> Inversion:
        """Images (B, C, H, W) taken apart by the lens that is estimated, or by another; in float32 throughout."""
        lens = self.lens_parameters(images) if lens is None else dict(lens)
        with torch.autocast(images.device.type, enabled=False):
            light = images.float().flatten(2)
            light = light - light[..., ::7].median(2, keepdim=True).values  # of every 7th pixel: the sky, in less time
            x, y = _places(images.shape[-2:], images.device)
            ax, ay = deflection(lens, x, y)
            ux, uy = ((theta - alpha) / lens["theta_E"][:, None] for theta, alpha in ((x, ax), (y, ay)))
            square = ux**2 + uy**2
            window = torch.sigmoid((1 - (square + 1e-6).sqrt().clamp(max=3)) / 0.1)  # (B, P)
            across, along = self._weights(ux), self._weights(uy) * window[..., None]  # (B, P, G)
            count = torch.matmul(along.mT, across)[:, None] + 0.1  # a cell with less than a tenth of a pixel is empty
            source = torch.matmul((along[:, None] * light[..., None]).mT, across[:, None]) / count
            model = (torch.matmul(along[:, None], source) * across[:, None]).sum(3)
            residual = light - model
            power = (light**2).sum((1, 2)) + 1e-12
            misfit = (residual**2).sum((1, 2)) / power
            spread = (light**2 * (square / (1 + square))[:, None]).sum((1, 2)) / power
            model, residual = (p.unflatten(2, images.shape[-2:]) for p in (model, residual))  # type: ignore
        return Inversion(lens, source, model, residual, misfit, spread)

    def _weights(self, u: Tensor) -> Tensor:
        """w_u along one axis, (B, P) to (B, P, G): linear between the cells of -1 to 1, so that it adds up to one."""
        u = (u.clamp(-1, 1) + 1) * ((self.cells - 1) / 2)
        return F.relu(1 - (u[..., None] - torch.arange(self.cells, device=u.device)).abs(), inplace=True)

    def _angles(self, lens: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """What theta and beta at (x, y), (N,), turn queries and keys by: (B, 2, N, E / 2).

        Half of the pairs turn with x, half with y, by 1 to 32 rad a half width: a wavelength is from far more than the
        image to a fraction of a source.
        """
        with torch.autocast(x.device.type, enabled=False):
            ax, ay = deflection(lens, x, y)
            across = torch.stack([x.expand_as(ax), x - ax], 1)
            along = torch.stack([y.expand_as(ay), y - ay], 1)
            speed = 32.0 ** torch.linspace(0, 1, self.pairs // 2, device=x.device)
            return torch.cat([across[..., None] * speed, along[..., None] * speed], 3)


class _Taught(torch.autograd.Function):
    """The first argument, as it is; backward, the second takes part as if it had been added to the loss."""

    @staticmethod
    def forward(ctx, x: Tensor, loss: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor]:
        return grads[0], torch.ones((), device=grads[0].device)


class LensEstimator(nn.Module):
    """Seven numbers from an image of any size, zero at the beginning: moments of learned maps, then a perceptron.

    Each of F maps, by a softmax over the cells, is a distribution on the sky; its means of x, y, x^2 - y^2, 2 x y and
    r^2 are what a centre, an ellipticity and a radius are read from.
    """

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.maps = nn.Sequential(
            nn.Conv2d(channels, width, 3, 2, padding=1), nn.GroupNorm(1, width), nn.GELU(),
            nn.Conv2d(width, 2 * width, 3, 2, padding=1), nn.GroupNorm(1, 2 * width), nn.GELU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False),
        )  # fmt: skip
        self.read = nn.Sequential(nn.Linear(10 * width, 4 * width), nn.GELU(), nn.Linear(4 * width, len(PARAMETERS)))
        self.maps.apply(initialise)
        nn.init.zeros_(self.read[2].weight)  # type: ignore
        nn.init.zeros_(self.read[2].bias)  # type: ignore

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 7), to be ``bounded``."""
        maps = self.maps(images)
        x, y = _places(images.shape[-2:], images.device, 4)
        moments = torch.stack([x, y, x**2 - y**2, 2 * x * y, x**2 + y**2], 1)
        return self.read(torch.matmul(maps.flatten(2).float().softmax(2), moments).flatten(1))


def bounded(raw: Tensor) -> dict[str, Tensor]:
    """Seven numbers (B, 7) as a lens that can be; zeros are a round lens of ``ROUND`` half widths in the centre."""
    low, high = THETA_E
    share = (ROUND - low) / (high - low)
    theta_E = low + (high - low) * torch.sigmoid(raw[:, 0] + math.log(share / (1 - share)))
    pairs = []
    for pair, most in zip(raw[:, 1:].split(2, 1), (ELLIPTICITY, OFFSET, SHEAR), strict=True):
        pairs.append(pair * (1 + (pair / most).square().sum(1, keepdim=True)).rsqrt())
    return dict(zip(PARAMETERS, (theta_E, *torch.cat(pairs, 1).unbind(1)), strict=True))


def _places(image: tuple[int, int] | torch.Size, device: torch.device, patch: int = 1) -> tuple[Tensor, Tensor]:
    """x and y of the middle of each patch, (N,) each, from the image's centre in half widths (of the shorter side).

    The image is thought of as padded to whole patches, half of it on either end, and what is odd on the far one.
    """
    axes = []
    for side in image:
        first = (patch - 1) / 2 - (-side % patch) // 2 - (side - 1) / 2
        axes.append((first + patch * torch.arange(-(-side // patch), device=device)) * (2 / min(image)))
    y, x = torch.meshgrid(*axes, indexing="ij")
    return x.flatten(), y.flatten()

"""What no smooth lens explains of an image: the second half of what a modeller would absorb.

When the smooth part of a substructure's deflection is taken away (``projection.py``), the image still differs from that
of its smooth lens in flux, centroid and radius, for it is the light, in its noise, that a model is fitted to. What the
derivatives of the image with respect to the parameters of the macromodel and of the source explain of the change is
taken away as well, by weighted least squares. To first order this is the same substructure in a slightly different
lens, the one whose best smooth model is the lens that was drawn.

Weighted by the noise, that leaves the plain sums over the light, by which anybody would describe an image, not quite as
they were. Flux, centroid, radius and width of the ring, concentration and peak are therefore held besides (``sums``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from arcformer.sim.kernels import kernel
from arcformer.sim.lens import Macromodel
from arcformer.sim.light import light_derivatives
from arcformer.sim.powerlaw import Vector

__all__ = ["by_macromodel", "by_source", "explained", "sums"]

NOTHING = 1e-12
"""Brightness for a unit of a parameter. Far out light is fainter yet, and a CPU is slow with the smallest numbers."""

FIRM = 10.0
"""How many times as exactly as by the noise a sum over the light is held."""

DETECTION = 3.0
"""A pixel counts as light from so many standard deviations of the sky on."""

PEAKED = 7
"""The power of the light whose sum is in the brightest pixels alone."""

RIDGE = 1e-5
"""Of the normal equations, over their diagonal: what two parameters do alike is shared between them."""


@kernel
def by_source(general: Tensor, discs: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Vector, Tensor]:
    """Brightness (B, P) of a galaxy at (x, y), its gradient, and its change with each of K parameters, (B, K, P)."""
    total, gradient, changes = light_derivatives((general, discs), x, y)
    return total, gradient, _stacked(changes)


@kernel
def by_macromodel(lens: Tensor, scaling: Tensor, x: Tensor, y: Tensor, lean_x: Tensor, lean_y: Tensor) -> Tensor:
    """How the brightness changes that rays through (x, y) end on, with each of K parameters of the lens, (B, K, P).

    Args:
        lens: as ``Macromodel.stacked`` gives it, (13, B).
        scaling: of the deflection.
        x, y: (P,).
        lean_x, lean_y: the gradient of the source where the rays end, (B, P) each.
    """
    fields = Macromodel.unstacked(lens).derivatives(x, y).values()
    return _stacked([-scaling * (ax * lean_x + ay * lean_y) for ax, ay in fields])


def explained(
    change: Tensor, by_source: Tensor, by_lens: Tensor, root: Tensor, sums: Tensor, compiled: bool | None = None
) -> Tensor:
    """How much of each derivative explains best, to first order, what images differ by from smooth ones, (B, K + L).

    Args:
        change: that difference, (B, P).
        by_source, by_lens: derivatives, (B, K, P) and (B, L, P).
        root: one over the standard deviation of the noise, (B, P).
        sums: the weights of sums over the image that are to stay as they are, (B, S, P).
        compiled: as for ``kernel``.
    """
    rows = _weighed(change, by_source, by_lens, root, compiled=compiled)
    noise = sums / root[:, None]  # each sum's weights, in the noise's units; its length is the sum's own noise
    firm = FIRM * (rows @ (noise / noise.square().sum(2, keepdim=True).sqrt().clamp(min=1e-15)).mT)
    products = rows @ rows.mT + firm @ firm.mT
    size = products.diagonal(dim1=1, dim2=2)[:, 1:].sqrt().clamp(min=1e-15)  # what is out of sight
    normal = products[:, 1:, 1:] / (size[:, :, None] * size[:, None])
    normal = normal + RIDGE * torch.eye(size.shape[1], dtype=rows.dtype, device=rows.device)
    return torch.linalg.solve(normal, products[:, 1:, 0] / size) / size


@kernel
def sums(light: Tensor, sky: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """By how much sums over an image change with each pixel, (B, 7, P): flux, its moments x, y, r, r^2, and powers.

    Only what stands out of the noise n of the sky is summed, on average over it: E[(l + n) 1(l + n > 3 s)], whose
    derivative by l is Phi(z) + 3 phi(z), with z = l / s - 3 and Phi and phi the normal distribution and its density.

    Args:
        light: halfway between the two images whose sums are to agree, (B, P): then they do to second order.
        sky: the standard deviation s of the sky, (B, 1).
        x, y: (P,).
    """
    z = light / sky - DETECTION
    lit = torch.special.erfc(-z * 0.5**0.5) / 2 + DETECTION * torch.exp(-(z**2) / 2) * (2 * torch.pi) ** -0.5
    square = x**2 + y**2
    bright = light / light.amax(1, keepdim=True)
    return _stacked([lit, lit * x, lit * y, lit * square.sqrt(), lit * square, lit * bright, lit * bright**PEAKED])


@kernel
def _weighed(change: Tensor, by_source: Tensor, by_lens: Tensor, root: Tensor) -> Tensor:
    return torch.cat([(change * root)[:, None], by_source * root[:, None], by_lens * root[:, None]], dim=1)


def _stacked(changes: list[Tensor]) -> Tensor:
    return torch.stack([torch.where(change.abs() < NOTHING, 0.0, change) for change in changes], dim=1)

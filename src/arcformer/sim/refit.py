"""What no smooth lens explains of an image: the second half of what a modeller would absorb.

When the smooth part of a substructure's deflection is taken away (``projection.py``), the image still differs from that
of its smooth lens in flux, centroid and radius, for it is the light, in its noise, that a model is fitted to. What the
derivatives of the image with respect to the parameters of the macromodel and of the source explain of the change is
taken away as well, by weighted least squares. To first order this is the same substructure in a slightly different
lens, the one whose best smooth model is the lens that was drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

__all__ = ["explained", "family", "one_by_one"]

STEPS = {
    "theta_E": 1e-3, "slope": 5e-3, "e1": 2e-3, "e2": 2e-3, "lens_x": 1e-3, "lens_y": 1e-3, "gamma1": 1e-3,
    "gamma2": 1e-3, "m3": 1e-3, "m3_angle": 3e-2, "m4": 1e-3, "m4_angle": 3e-2,
    "source_x": 1e-3, "source_y": 1e-3, "source_amplitude": 1e-2, "source_size": 5e-3, "source_index": 1e-2,
    "source_e1": 5e-3, "source_e2": 5e-3, "source_flux": 1e-2, "source_zoom": 5e-3, "source_angle": 5e-3,
    "source_clump_amplitude": 3e-2, "source_clump_x": 1e-3, "source_clump_y": 1e-3, "source_clump_size": 1e-2,
}  # fmt: skip
"""What a model of a lens has, where a preset draws it, and steps for its derivatives: arcsec, or shares of a value."""

SHARES = (
    "source_amplitude",
    "source_size",
    "source_flux",
    "source_zoom",
    "source_clump_amplitude",
    "source_clump_size",
)

RIDGE = 1e-5
"""Of the normal equations, over their diagonal: what two parameters do alike is shared between them."""

Column = tuple[str, int]


def family(parameters: Mapping[str, Tensor]) -> list[Column]:
    """The parameters of a smooth lens and its source, by name and place among those of that name."""
    return [(name, k) for name in STEPS if name in parameters for k in range(parameters[name][0].numel())]


def one_by_one(parameters: Mapping[str, Tensor], columns: Sequence[Column]) -> dict[str, Tensor]:
    """Parameters (B, ...), and after them the same with a step in each of K columns, ((1 + K) B, ...)."""
    count = 1 + len(columns)
    every = {name: p.repeat(count, *[1] * (p.ndim - 1)) for name, p in parameters.items()}
    for row, (name, k) in enumerate(columns, 1):
        values = every[name].view(count, len(parameters[name]), -1)[row, :, k]
        values += STEPS[name] * values if name in SHARES else STEPS[name]
    return every


def explained(images: Tensor, smooth: Tensor, varied: Tensor, weight: Tensor) -> Tensor:
    """How many steps of each column explain best, to first order, by what images differ from smooth ones, (B, K).

    Args:
        images: with substructure, (B, P).
        smooth: of the smooth lenses, (B, P).
        varied: of the same with a step in each column, (K, B, P).
        weight: one over the variance of the noise, (B, P).
    """
    root = weight.sqrt()
    slopes = ((varied - smooth) * root).permute(1, 0, 2)
    size = slopes.square().sum(2, keepdim=True).sqrt().clamp(min=1e-20)
    slopes = slopes / size
    normal = slopes @ slopes.mT + RIDGE * torch.eye(len(varied), dtype=images.dtype, device=images.device)
    change = ((images - smooth) * root)[..., None]
    return (torch.linalg.solve(normal, slopes @ change) / size)[..., 0]

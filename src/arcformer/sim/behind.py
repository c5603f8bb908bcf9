"""What is behind an image: the source without its lens, and the convergence of all that is below the halo."""

from __future__ import annotations

import torch
from torch import Tensor

from arcformer.sim.instrument import pixel_grid
from arcformer.sim.preset import Preset
from arcformer.sim.scene import Scene

__all__ = ["substructure_convergence", "unlensed_images"]


def unlensed_images(preset: Preset, parameters: dict[str, Tensor], *, pixels: int | None = None) -> Tensor:
    """The sources as they would be seen without a lens and before the PSF, (B, C, H, W), flux per second and pixel.

    Args:
        preset, parameters: as ``draw`` gives them.
        pixels: side of the central part; None for the whole image.
    """
    size, scale = preset.central(pixels), preset.pixel_scale
    scene = _scene(preset, parameters, size, scale)
    return scene.unlensed(torch.arange(len(scene))).unflatten(2, (size, size)) * scale**2


def substructure_convergence(preset: Preset, parameters: dict[str, Tensor], *, pixels: int | None = None) -> Tensor:
    """The convergence of what is below the halo, its mean over each pixel, (B, H, W), dimensionless.

    Where the preset projects, it is that of what is left, and may be negative. By the theorem of Gauss it is half the
    deflection through the edges of the pixel over its area, each edge by the trapezoidal rule: near a mass smaller than
    a pixel the rule is coarse, but all pixels together have the mass that is in them.

    Args:
        preset, parameters: as ``draw`` gives them.
        pixels: side of the central part; None for the whole image.
    """
    size, scale = preset.central(pixels), preset.pixel_scale
    scene = _scene(preset, parameters, size + 1, scale)  # the corners of the pixels
    rows = torch.arange(len(scene))
    ax, ay = (
        a.unflatten(1, (size + 1, size + 1)) * preset.geometry.deflection_scaling
        for a in scene.substructure(rows, scene.x, scene.y)
    )
    outward_x = (ax[:, 1:] + ax[:, :-1]).diff(dim=2) / 2
    outward_y = (ay[:, :, 1:] + ay[:, :, :-1]).diff(dim=1) / 2
    return (outward_x + outward_y) / (2 * scale)


def _scene(preset: Preset, parameters: dict[str, Tensor], size: int, scale: float) -> Scene:
    x, y = (axis.flatten() for axis in pixel_grid(size, scale, torch.float64, torch.device("cpu")))
    return Scene(preset, parameters, x, y, compiled=False)

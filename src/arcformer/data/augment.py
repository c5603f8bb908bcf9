"""Augmentation by the symmetries of the square, the only changes of an image that leave its physics alone.

Zoom and crop change the apparent Einstein radius, interpolation the noise: neither is here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.errors import InputError

__all__ = ["Symmetries", "dihedral", "turned"]

Symmetries = Literal["none", "half-turn", "dihedral"]

INVARIANT_EXTRAS = ("flux_zero", "flux_unit")
SPIN_1 = ("x", "y")
SPIN_2 = ("e1", "e2", "gamma1", "gamma2", "phi", "angle")


def dihedral(batch: LensBatch, generator: torch.Generator, symmetries: Symmetries = "dihedral") -> LensBatch:
    """The batch with every image turned or mirrored by an element of the group, drawn for it alone.

    ``images``, ``high_res``, ``noise_std``, ``mask``, ``psf`` and ``extras["clean"]`` turn together. Other extras than
    the flux scale describe the sky as it lay before, and are left out.

    Targets that turn with the image become NaN, as nothing here turns them: those whose name ends in ``x``, ``y``,
    ``e1``, ``e2``, ``gamma1``, ``gamma2``, ``phi`` or ``angle``; under ``half-turn`` only ``x`` and ``y``, as an
    ellipticity is the same after half a turn.

    Args:
        batch: square images, unless ``symmetries`` is ``none`` or ``half-turn``.
        generator: the batch's own stream, on the CPU.
        symmetries: ``dihedral``, the 8 of the square; ``half-turn``, nothing or 180 degrees, under which a lens with a
            fixed macromodel and without odd multipoles stays itself; ``none``.

    Raises:
        InputError: images that are not square, or targets that turn with the image.
    """
    if symmetries == "none":
        return batch
    batch = _without_turning_targets(batch, symmetries)
    count = len(batch)
    if symmetries == "half-turn":
        swap, up = None, torch.randint(2, (count,), generator=generator).bool()
        left = up
    else:
        if batch.images.shape[-1] != batch.images.shape[-2]:
            height, width = batch.images.shape[-2:]
            raise InputError(f"images of {height} x {width} pixels: only squares have the symmetries 'dihedral'")
        swap, up, left = torch.randint(2, (3, count), generator=generator).bool()

    def also(planes: Tensor | None) -> Tensor | None:
        return None if planes is None else turned(planes, swap, up, left)

    kept = {name: batch.extras[name] for name in INVARIANT_EXTRAS if name in batch.extras}
    clean = {"clean": also(batch.extras["clean"])} if "clean" in batch.extras else {}
    names = ("images", "high_res", "noise_std", "mask", "psf")
    return replace(batch, **{name: also(getattr(batch, name)) for name in names}, extras=kept | clean)


def turned(planes: Tensor, swap: Tensor | None, up: Tensor, left: Tensor) -> Tensor:
    """Planes (B, ..., H, W), of each the axes swapped, then turned upside down, then left to right, where (B,) says so.

    ``swap`` None: of none of them, as where planes are not square.
    """
    if swap is not None:
        planes = _where(swap, planes, lambda p: p.mT)
    planes = _where(up, planes, lambda p: p.flip(-2))
    return _where(left, planes, lambda p: p.flip(-1))


def _where(chosen: Tensor, planes: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """``function`` of the chosen images, the others as they are."""
    chosen = chosen.to(planes.device).view(-1, *[1] * (planes.ndim - 1))
    return torch.where(chosen, function(planes), planes)


def _without_turning_targets(batch: LensBatch, symmetries: Symmetries) -> LensBatch:
    """STAND-IN until targets turn with the image: those that would are not a number."""
    turning = SPIN_1 if symmetries == "half-turn" else SPIN_1 + SPIN_2
    lost = [name.rpartition("_")[2] in turning for name in batch.target_names]
    if batch.targets is None or not any(lost):
        return batch
    return replace(batch, targets=batch.targets.masked_fill(torch.tensor(lost).to(batch.targets.device), torch.nan))

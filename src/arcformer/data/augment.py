"""Augmentation by the symmetries of the square, the only changes of an image that leave its physics alone.

Zoom and crop change the apparent Einstein radius, interpolation the noise: neither is here.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.data.symmetry import Symmetries, Turns, check_square, check_turns

__all__ = ["dihedral"]


def dihedral(batch: LensBatch, generator: torch.Generator, symmetries: Symmetries = "dihedral") -> LensBatch:
    """The batch with every image turned or mirrored by an element of the group, drawn for it alone.

    ``images``, ``high_res``, ``noise_std``, ``mask``, ``psf`` and ``extras["clean"]`` turn together, and with them
    targets and extras that are numbers, (B,) or (B, N), by the rules of ``symmetry``. Extras without a rule, angles
    and other planes, describe the sky as it lay before, and are left out.

    Args:
        batch: square images, unless ``symmetries`` is ``none`` or ``half-turn``.
        generator: the batch's own stream, on the CPU.
        symmetries: ``dihedral``, the 8 of the square; ``half-turn``, nothing or 180 degrees, under which a lens with a
            fixed macromodel and without odd multipoles stays itself; ``none``.

    Raises:
        InputError: images that are not square, or targets that cannot be turned.
    """
    if symmetries == "none":
        return batch
    check_turns(batch.target_names, symmetries, "augment")
    if symmetries == "dihedral":
        check_square(batch.images)
    turns = Turns.drawn(len(batch), symmetries, generator)

    def also(planes: Tensor | None) -> Tensor | None:
        return None if planes is None else turns.planes(planes)

    extras = turns.numbers({name: extra for name, extra in batch.extras.items() if extra.ndim < 3})
    if "clean" in batch.extras:
        extras["clean"] = turns.planes(batch.extras["clean"])
    targets = None if batch.targets is None else turns.values(batch.targets, batch.target_names)
    names = ("images", "high_res", "noise_std", "mask", "psf")
    return replace(batch, **{name: also(getattr(batch, name)) for name in names}, targets=targets, extras=extras)

"""How deep in a backbone its parameters lie, for learning rates that fall towards the image (layer-wise decay).

The blocks are those of ``Backbone.recomputable``, in the order in which they are registered, which is that of the
computation in every backbone that is written from top to bottom; the blocks of branches side by side follow each other.
"""

from __future__ import annotations

from arcformer.errors import InputError
from arcformer.models.backbone import Backbone

__all__ = ["depths"]


def depths(backbone: Backbone) -> dict[int, int]:
    """By the ``id`` of each parameter, how many steps below the head it is; 1 for the last block.

    With L blocks, those of block i (from 1) are L + 1 - i below, and those before the first block, as stem and
    positions, L + 1. What lies between two blocks, as what merges cells, counts with the block before it, and so does a
    last norm (Clark et al. 2020, arXiv 2003.10555, appendix; Bao et al. 2021, arXiv 2106.08254).

    Raises:
        InputError: for a backbone without blocks.
    """
    blocks = {id(p): place for place, block in enumerate(backbone.recomputable(), 1) for p in block.parameters()}
    if not blocks:
        raise InputError(
            f"{type(backbone).__name__} names no blocks whose rates could differ; let its recomputable() name some, or "
            "leave training.layer_decay out"
        )
    count, reached, found = max(blocks.values()), 0, {}
    for parameter in backbone.parameters():
        reached = blocks.get(id(parameter), reached)
        found[id(parameter)] = count + 1 - reached
    return found

"""Does a map of sigmas say where the substructure is?

Asked of anomalous images of which it is known. A lens is not dark everywhere: what a map shows lies on the arcs, and so
does the substructure that matters. What is compared with is therefore the same map and the substructure of another
image.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.metrics import Estimate, bootstrap
from arcformer.studies.detection.known import located, substructure_mask

__all__ = ["Where"]

MAPPED = 600
"""Images, at most, whose maps are looked at: each takes some milliseconds."""


@dataclass
class Where:
    """Gathers, of each image that is looked at, how well its map finds its own substructure and that of another."""

    rows: list[tuple[float, ...]] = field(default_factory=list)

    def take(self, sigmas: Tensor, batch: LensBatch, seen: LensBatch, anomalous: Tensor) -> None:
        """Take in the maps (B, H, W) of the anomalous images of a batch; nothing where they are not defined."""
        chosen = anomalous.nonzero()[: MAPPED - len(self.rows), 0]
        if len(chosen) < 2 or seen.pixel_scale is None or not bool(sigmas.isfinite().any()):
            return
        extras = {name: value[chosen.to(value.device)] for name, value in batch.extras.items()}
        sides = (int(sigmas.shape[-2]), int(sigmas.shape[-1]))
        cell = seen.pixel_scale.cpu()[chosen] * seen.images.shape[-1] / sides[1]
        near = substructure_mask(extras, sides, cell)
        if near is None:
            return
        maps, masks = sigmas.detach().cpu()[chosen].numpy(), near.numpy()
        labels = None if batch.labels is None else batch.labels.cpu()[chosen]
        for row, other in enumerate(_others(labels, len(chosen))):
            if other is not None:
                self.rows.append((*located(maps[row], masks[row]), *located(maps[row], masks[other])))

    def estimates(self, seed: int) -> dict[str, Estimate]:
        """``where_auroc`` and ``where_top``, ``..._by_chance``, and by how much each is above, images in pairs."""
        rows = np.array([row for row in self.rows if np.isfinite(row).all()])
        if len(rows) < 2:
            return {}

        def metrics(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
            area, top, area_by_chance, top_by_chance = (weights @ rows / weights.sum(1, keepdims=True)).T
            return {
                "where_auroc": area,
                "where_auroc_by_chance": area_by_chance,
                "where_above_chance": area - area_by_chance,
                "where_top": top,
                "where_top_by_chance": top_by_chance,
                "where_above_top": top - top_by_chance,
            }

        return bootstrap(metrics, len(rows), seed=seed)


def _others(labels: Tensor | None, count: int) -> list[int | None]:
    """For each image the next one of its class; None where it is the only one."""
    classes = torch.zeros(count) if labels is None else labels
    others: list[int | None] = [None] * count
    for label in classes.unique():
        members = (classes == label).nonzero()[:, 0].tolist()
        if len(members) > 1:
            for member, following in zip(members, members[1:] + members[:1], strict=True):
                others[member] = following
    return others

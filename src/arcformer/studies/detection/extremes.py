"""The images that a report shows: the most and the least anomalous ones, each with its map."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from arcformer.batch import LensBatch

__all__ = ["Extremes", "Pictured"]

KEPT = 5
"""Images of each kind."""

ALARMS, FOUND, MISSED = "normal", "found", "missed"
"""Normal images with the highest scores; anomalous ones with the highest, and with the lowest."""


@dataclass(frozen=True)
class Pictured:
    """Images in physical units, labelled by what they are an example of, and their maps (B, H, W)."""

    images: LensBatch
    sigmas: Tensor


@dataclass
class Extremes:
    """Few images of each kind, the best of all that were shown so far."""

    groups: dict[str, tuple[LensBatch, Tensor, Tensor]] = field(default_factory=dict)

    def take(self, images: LensBatch, scores: Tensor, sigmas: Tensor, anomalous: Tensor) -> None:
        """See whether some of a batch are more extreme than those that are kept."""
        for name, rows, sign in ((ALARMS, ~anomalous, 1), (FOUND, anomalous, 1), (MISSED, anomalous, -1)):
            chosen = rows.nonzero()[:, 0]
            rank = sign * scores.detach().cpu().double()[chosen]
            best = rank.argsort(descending=True, stable=True)[:KEPT]
            if len(best):
                at = chosen[best]
                self._merge(name, _plain(images[at]), sigmas[at.to(sigmas.device)].detach().cpu(), rank[best])

    def add(self, name: str, images: LensBatch, sigmas: Tensor) -> None:
        """Keep these images under a name of their own."""
        self.groups[name] = _plain(images), sigmas, torch.zeros(len(images))

    def pictured(self) -> Pictured | None:
        """All that is kept, in groups; None where that is nothing."""
        if not self.groups:
            return None
        names, sizes = tuple(self.groups), [len(rank) for _, _, rank in self.groups.values()]
        images = LensBatch.collate([images for images, _, _ in self.groups.values()])
        labels = torch.arange(len(names)).repeat_interleave(torch.tensor(sizes))
        sigmas = torch.cat([sigmas for _, sigmas, _ in self.groups.values()])
        shown = LensBatch(
            images.images, labels, names, mask=images.mask, pixel_scale=images.pixel_scale, unit=images.unit
        )
        return Pictured(shown, sigmas)

    def _merge(self, name: str, images: LensBatch, sigmas: Tensor, rank: Tensor) -> None:
        if name in self.groups:
            before = self.groups[name]
            images = LensBatch.collate([before[0], images])
            sigmas, rank = torch.cat([before[1], sigmas]), torch.cat([before[2], rank])
        best = rank.argsort(descending=True, stable=True)[:KEPT]
        self.groups[name] = images[best], sigmas[best], rank[best]


def _plain(batch: LensBatch) -> LensBatch:
    """What a picture needs of a batch."""
    kept = batch.to("cpu")
    return LensBatch(kept.images, mask=kept.mask, pixel_scale=kept.pixel_scale, unit=kept.unit)

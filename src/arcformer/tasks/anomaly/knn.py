"""How far the nearest normal images are (Sun et al. 2022, arXiv 2204.06507)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.models import Backbone
from arcformer.tasks.anomaly.features import FeatureStatistic
from arcformer.tasks.anomaly.statistic import STATISTICS, Scores, unknown

__all__ = ["Nearest", "Reservoir"]


@STATISTICS.register("knn")
class Nearest(FeatureStatistic):
    """The distance of the pooled features from the k-th nearest of a bank of normal images; features in their scatter.

    Memory grows with the bank, 4 D bytes for an image of D features, and never beyond ``bank`` images, which are drawn
    from all (reservoir sampling); so does the time, B * bank * D multiply-adds for B images. There is no map.

    Args:
        backbone: any; it stays as it is.
        k: which neighbour; the last one, where the bank holds fewer.
        bank: images that are kept at most.

    Raises:
        InputError: for numbers below 1.
    """

    bank: Tensor
    scatter: Tensor

    def __init__(self, backbone: Backbone, *, k: int = 5, bank: int = 4096):
        super().__init__(backbone)
        if min(k, bank) < 1:
            raise InputError(f"knn: {k=}, {bank=}: expected whole numbers of at least 1")
        self.k, self.size = k, bank
        self.register_buffer("bank", torch.zeros(1, backbone.dim))
        self.register_buffer("scatter", torch.ones(backbone.dim))

    def score(self, batch: LensBatch) -> Scores:
        """Distances; ``sigmas`` is not known."""
        far = torch.cdist(self.pooled(batch) / self.scatter, self.bank, compute_mode="donot_use_mm_for_euclid_dist")
        nearest = far.kthvalue(min(self.k, len(self.bank)), dim=1).values
        return Scores(nearest, unknown(batch))

    @torch.no_grad()
    def fit(self, batches: Iterable[LensBatch]) -> None:
        """Draw the bank, in one pass."""
        reservoir = Reservoir(self.size)
        for batch in batches:
            reservoir.add(self.pooled(batch))
        kept = reservoir.kept
        scatter = kept.double().std(0, correction=0).to(self.scatter)
        self.scatter = torch.where(scatter > 0, scatter, 1.0)
        self.bank = kept / self.scatter


class Reservoir:
    """At most ``size`` of any number of vectors, each as likely as any other, in the order in which they came.

    Every vector gets a random number, and those with the least are kept (Vitter 1985, with keys): which ones does not
    depend on how they come in batches.
    """

    def __init__(self, size: int, seed: int = 0):
        self.size, self.generator, self.seen = size, torch.Generator().manual_seed(seed), 0

    def add(self, x: Tensor) -> None:
        """Take in vectors (n, D)."""
        keys = torch.stack([torch.rand((), generator=self.generator) for _ in range(len(x))])
        places = torch.arange(self.seen, self.seen + len(x))
        if self.seen:
            keys, places, x = torch.cat([self.keys, keys]), torch.cat([self.places, places]), torch.cat([self.kept, x])
        self.seen = int(places[-1]) + 1
        chosen = keys.argsort(stable=True)[: self.size].sort().values
        self.keys, self.places, self.kept = keys[chosen], places[chosen], x[chosen.to(x.device)]

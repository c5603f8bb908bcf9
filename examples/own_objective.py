"""An objective of pretraining of one's own, checked against the contract. Train it with `task=own_objective:Turned`."""

import torch
from torch.nn import functional as F

from arcformer.models import PoolHead
from arcformer.tasks.check import check_task
from arcformer.tasks.pretrain import Objective


class Turned(Objective):
    """By how many quarter turns was the image turned? (Gidaris et al. 2018, arXiv 1803.07728)"""

    def __init__(self, backbone, classes, *, least_rank: float = 1.5):
        super().__init__(backbone, classes, least_rank=least_rank)
        self.head = PoolHead(backbone.dim, 4)

    def losses(self, batch, draws):
        images = batch.images
        turns = (4 * draws.uniform(len(images), device=images.device)).long()
        all_four = torch.stack([images.rot90(k, (2, 3)) for k in range(4)])
        seen = all_four[turns, torch.arange(len(images), device=images.device)]
        logits = self.head(self.backbone.features(seen, batch.context)).float()
        return F.cross_entropy(logits, turns, reduction="none")


if __name__ == "__main__":
    check_task(Turned)
    print("Turned keeps the contract of a task")

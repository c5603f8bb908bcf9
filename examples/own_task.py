"""A task of one's own, checked against the contract. Train it with `task.name=own_task:Contains`."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F
from torchmetrics.classification import BinaryAUROC

from arcformer.models import PoolHead
from arcformer.tasks import Prediction, Task, TaskMetrics
from arcformer.tasks.check import check_task


@dataclass(frozen=True)
class Presence(Prediction):
    probability: Tensor  # (B,)


class Contains(Task):
    """Is there any substructure? The first class stands for none."""

    monitor = ("auroc", "max")

    def __init__(self, backbone, classes, *, dropout: float = 0.0):
        super().__init__(backbone, classes)
        self.head = PoolHead(backbone.dim, 1, dropout=dropout)

    def predict(self, batch):
        return Presence(self.head(self.backbone.features(batch.images))[:, 0].float().sigmoid())

    def loss(self, batch):
        logits = self.head(self.backbone.features(batch.images))[:, 0].float()
        return {"loss": F.binary_cross_entropy_with_logits(logits, (batch.labels > 0).float())}

    def metrics(self):
        return TaskMetrics({"auroc": BinaryAUROC()}, lambda made, batch: (made.probability, (batch.labels > 0).long()))


if __name__ == "__main__":
    check_task(Contains, dropout=0.1)
    print("Contains keeps the contract of a task")

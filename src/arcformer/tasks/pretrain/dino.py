"""Self-distillation (DINO; Caron et al. 2021, arXiv 2104.14294): two views of a lens are to be told alike.

A student learns to say of one view what its own moving average, the teacher, says of the other. The teacher's answers
are centred, so that no answer is always given, and sharpened, so that not all are given alike. There are no small
crops as in the paper: a crop is another lens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.batch import LensBatch
from arcformer.data.symmetry import Symmetries
from arcformer.errors import InputError
from arcformer.models import Backbone
from arcformer.models.vit import initialise
from arcformer.tasks.base import TASKS
from arcformer.tasks.pretrain.draws import Draws
from arcformer.tasks.pretrain.objective import Objective
from arcformer.tasks.pretrain.teacher import Teacher
from arcformer.tasks.pretrain.views import Views

__all__ = ["DINO"]

CENTRE_FOLLOWS = 0.1
"""How far the centre moves to the mean answer of each batch, 1 - m of the paper's equation 4; farther in the first ten,
so that it is in its place from the start. Before, all images give one answer, and the loss is low for nothing."""


@TASKS.register("dino")
class DINO(Objective):
    """Pretraining by self-distillation. The best weights are those of the highest rank (RankMe).

    Its loss is least where all images get one answer; the effective rank is not.

    Args:
        backbone: any.
        classes: names of the classes; may be empty.
        prototypes: among how many the answer is.
        momentum: decay of the teacher.
        temperature: of the student.
        teacher_temperature: of the teacher; lower: sharper.
        symmetries, blur, shift, noise: see ``Views``.
        least_rank: see ``Objective``.

    Raises:
        InputError: for options that cannot be.
    """

    monitor: ClassVar[tuple[str, str]] = ("rank", "max")
    centre: Tensor
    batches: Tensor

    def __init__(
        self,
        backbone: Backbone,
        classes: Sequence[str],
        *,
        prototypes: int = 1024,
        momentum: float = 0.996,
        temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        symmetries: Symmetries = "dihedral",
        blur: float = 1.0,
        shift: float = 0.5,
        noise: float = 1.0,
        least_rank: float = 1.5,
    ):
        super().__init__(backbone, classes, least_rank=least_rank)
        if prototypes < 2 or not 0 < teacher_temperature <= temperature:
            raise InputError(
                f"dino: {prototypes=}, {teacher_temperature=}, {temperature=}: expected two prototypes at least, and a "
                "teacher that is not less sharp than its student"
            )
        self.views = Views(symmetries, blur, shift, noise)
        self.temperatures = (temperature, teacher_temperature)
        self.head = Answer(backbone.dim, prototypes)
        self.teacher, self.teacher_head = Teacher(backbone, momentum), Teacher(self.head, momentum)
        self.register_buffer("centre", torch.zeros(prototypes))
        self.register_buffer("batches", torch.zeros(()))

    def losses(self, batch: LensBatch, draws: Draws) -> Tensor:
        """The cross-entropy, nats, of the student's answer to each view with the teacher's to the other."""
        views = torch.cat([self.views(batch, draws) for _ in range(2)])
        context = None if batch.context is None else torch.cat([batch.context] * 2)
        student = self.head(self.pooled(views, context)).float()
        with torch.no_grad():
            seen = self.teacher(views, context)[-1].mean()
            teacher = self.teacher_head(seen).float()
            if self.training:
                self.batches.add_(1)
                self.centre.lerp_(teacher.mean(0), (1 / self.batches).clamp_min(CENTRE_FOLLOWS))
            wanted = ((teacher - self.centre) / self.temperatures[1]).softmax(1)
        said = (student / self.temperatures[0]).log_softmax(1)
        other = said.roll(len(batch), 0)
        return -(wanted * other).sum(1).unflatten(0, (2, len(batch))).mean(0)

    def after_step(self, step: int) -> None:
        """The teacher follows."""
        self.teacher.follow(self.backbone)
        self.teacher_head.follow(self.head)

    def frozen_parameters(self) -> Iterable[nn.Parameter]:
        """The teacher's."""
        return [*self.teacher.parameters(), *self.teacher_head.parameters()]


class Answer(nn.Module):
    """(B, dim) to cosines with prototypes, (B, prototypes), by way of a perceptron with a narrow end."""

    def __init__(self, dim: int, prototypes: int, hidden: int = 512, narrow: int = 128):
        super().__init__()
        self.perceptron = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, narrow)
        )
        self.prototypes = nn.Linear(narrow, prototypes, bias=False)
        for layer in self.perceptron:
            initialise(layer)
        nn.init.trunc_normal_(self.prototypes.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.normalize(self.perceptron(x), dim=1), F.normalize(self.prototypes.weight, dim=1))

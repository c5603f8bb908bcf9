"""A joint-embedding predictive architecture (I-JEPA; Assran et al. 2023, arXiv 2301.08243): features, not pixels.

From the cells that are shown, the features are predicted that a teacher, who sees the whole image, has at the others.
Noise cannot be predicted and need not be. Where the paper hides four blocks and predicts them one by one, here one
connected field is hidden and predicted at once, so that every image has as many tokens as any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.batch import LensBatch
from arcformer.models import Backbone, TokenBackbone
from arcformer.tasks.base import TASKS
from arcformer.tasks.pretrain.decoder import Decoder
from arcformer.tasks.pretrain.draws import Draws
from arcformer.tasks.pretrain.masking import Masks, check_masks, hide
from arcformer.tasks.pretrain.objective import Objective
from arcformer.tasks.pretrain.teacher import Teacher
from arcformer.tasks.shown import with_tokens

__all__ = ["JEPA"]


@TASKS.register("jepa")
class JEPA(Objective):
    """Pretraining by prediction of features. The best weights are those of the highest rank (RankMe).

    Its loss falls when the teacher's features become poorer, too; the effective rank does not.

    Args:
        backbone: one with tokens.
        classes: names of the classes; may be empty.
        ratio: the share of the cells that is hidden.
        masks: ``blocks``, ``random`` or ``arcs``, see ``masking.hide``.
        momentum: decay of the teacher.
        predictor_blocks: 1 or 2.
        least_rank: see ``Objective``.

    Raises:
        InputError: for a backbone that cannot leave out tokens, or options that cannot be.
    """

    monitor: ClassVar[tuple[str, str]] = ("rank", "max")
    backbone: TokenBackbone

    def __init__(
        self,
        backbone: Backbone,
        classes: Sequence[str],
        *,
        ratio: float = 0.6,
        masks: Masks = "blocks",
        momentum: float = 0.996,
        predictor_blocks: int = 2,
        least_rank: float = 1.5,
    ):
        super().__init__(with_tokens(backbone, "jepa", "dino"), classes, least_rank=least_rank)
        check_masks(ratio, masks)
        self.ratio = ratio
        self.masks: Masks = masks
        self.predictor = Decoder(backbone, backbone.dim, backbone.dim, blocks=predictor_blocks)
        self.teacher = Teacher(backbone, momentum)

    def losses(self, batch: LensBatch, draws: Draws) -> Tensor:
        """Huber's distance of the features at the hidden cells, each cell's scaled to mean 0 and variance 1."""
        tokens = self.backbone.tokenize(batch.images, batch.context)
        kept, hidden = hide(
            batch.images, tokens.grid, self.backbone.stride, ratio=self.ratio, masks=self.masks, draws=draws
        )
        found = self.predictor(self.backbone.encode(tokens.at(kept)), hidden).float()
        seen = self.teacher(batch.images, batch.context)[-1].x.float().flatten(2).transpose(1, 2)
        wanted = F.layer_norm(seen, seen.shape[2:]).gather(1, hidden[..., None].expand_as(found))
        return F.smooth_l1_loss(found, wanted, reduction="none").mean((1, 2))

    def after_step(self, step: int) -> None:
        """The teacher follows."""
        self.teacher.follow(self.backbone)

    def frozen_parameters(self) -> Iterable[nn.Parameter]:
        """The teacher's."""
        return self.teacher.parameters()

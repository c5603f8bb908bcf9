"""What tells an anomaly: a number for an image that is the higher, the less it is like normal images. And the registry.

B images of H x W pixels. ``check_statistic`` is the contract as a callable.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from arcformer.batch import LensBatch
from arcformer.models import Backbone
from arcformer.registry import Registry
from arcformer.tasks.base import Prediction

__all__ = ["STATISTICS", "Fitted", "Scores", "Statistic"]


@dataclass(frozen=True)
class Scores(Prediction):
    """Attributes:
    score: (B,), the higher, the less like the normal images.
    sigmas: (B, H, W), where: a signed residual or how odd a place is, in sigmas of normal images; NaN all over where
        a statistic does not know.
    """

    score: Tensor
    sigmas: Tensor


class Fitted(nn.Module):
    """A module whose buffers are as large as what they were fitted to; those of any size can be loaded."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name, buffer in self._buffers.items():
            there = state_dict.get(prefix + name)
            if there is not None and buffer is not None and there.shape != buffer.shape:
                setattr(self, name, buffer.new_empty(there.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Statistic(Fitted, ABC):
    """A statistic on images or on the features of a backbone.

    A subclass is constructed as ``cls(backbone, *, options...)``. What it fits it holds in buffers, what it learns in
    parameters. The backbone is the task's, which trains and saves it: it is at hand and no part of this module.

    Attributes:
        frozen: whether the backbone stays as it is.
        backbone: the backbone.
    """

    frozen: ClassVar[bool] = False
    backbone: Backbone

    def __init__(self, backbone: Backbone):
        super().__init__()
        object.__setattr__(self, "backbone", backbone)  # as a module of this one it would be saved twice

    @abstractmethod
    def score(self, batch: LensBatch) -> Scores:
        """What is said of the images: the same of each however they come in batches. Truth is not looked at."""

    def loss(self, batch: LensBatch) -> Tensor:
        """What training descends, (B,). Unless overridden, the score; where nothing is trained it is not asked for."""
        return self.score(batch).score

    def prepare(self, batches: Sequence[LensBatch]) -> None:
        """Fit buffers to the first training images, before the first step. Nothing, where not overridden."""

    def fit(self, batches: Iterable[LensBatch]) -> None:
        """Fit buffers to training images, after training; in one pass or in more. Nothing, where not overridden.

        What is fitted does not depend on how the images come in batches, nor on what was fitted before.
        """


def unknown(batch: LensBatch) -> Tensor:
    """``Scores.sigmas`` of a statistic that does not know where."""
    return batch.images.new_full((len(batch), *batch.images.shape[-2:]), torch.nan, dtype=torch.float32)


STATISTICS: Registry[type[Statistic]] = Registry("statistic")

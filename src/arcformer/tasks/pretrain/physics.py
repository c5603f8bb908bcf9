"""What only a simulator makes possible: the smooth lens, the source and the noise-free image, from the image.

Neither the substructure's deflection, nor its mass, nor any other parameter that only a class has is asked for: those
are the label. What is asked for is drawn without regard to the class, and where a preset draws it otherwise (a halo of
its own for a class) that is noticed and the parameter left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.models import Backbone, PixelHead, PoolHead
from arcformer.sim.parameters import SMOOTH_LENS, drawn_as, target
from arcformer.tasks.base import TASKS
from arcformer.tasks.pretrain.draws import Draws
from arcformer.tasks.pretrain.misfit import Misfit, check_misfit, misfit
from arcformer.tasks.pretrain.objective import Features, Objective
from arcformer.tasks.shown import channels_and_stride
from arcformer.tasks.standard import FIXED, Standard

__all__ = ["PARAMETERS", "Physics", "SmoothLens"]

PARAMETERS = tuple(SMOOTH_LENS)
"""Of macromodel and source."""

APART = 5.0
"""Standard errors by which the mean of a class must differ for a parameter to be told by class."""


@dataclass(frozen=True)
class SmoothLens(Features):
    """Attributes:
    parameters: (B, P), those of ``PARAMETERS``; their mean where they do not vary.
    clean: (B, C, H, W), the image without noise, in the range of the transform.
    """

    parameters: Tensor
    clean: Tensor


@TASKS.register("physics")
class Physics(Objective):
    """Pretraining on what the simulator knows of every lens, whatever its class.

    Parameters are scaled to mean 0 and variance 1 by what the first images of the training show (``prepare``); those
    that never vary or that the label tells are left out. Of ``deeplense/model-1`` the position of the source remains,
    and the image. Where images are turned, positions and ellipticities turn with them.

    Args:
        backbone: any.
        classes: names of the classes, to see which parameters they tell; may be empty.
        parameters, clean: weights of the two parts of the loss; 0 leaves a part out.
        loss: of the image; ``mse``, which is of order one as that of the parameters is, or ``chi2``. See ``misfit``.
        least_rank: see ``Objective``.

    Raises:
        InputError: for weights that are negative or all 0.
    """

    truth: ClassVar[Literal["none", "noise", "useful", "needed"]] = "needed"
    used: Tensor

    def __init__(
        self,
        backbone: Backbone,
        classes: Sequence[str],
        *,
        parameters: float = 1.0,
        clean: float = 1.0,
        loss: Misfit = "mse",
        least_rank: float = 1.5,
    ):
        super().__init__(backbone, classes, least_rank=least_rank)
        if min(parameters, clean) < 0 or parameters + clean == 0:
            raise InputError(f"physics: weights {parameters=}, {clean=}: expected none negative and one positive")
        check_misfit(loss)
        self.weights = (parameters, clean)
        self.measure: Misfit = loss
        channels, stride = channels_and_stride(backbone)
        self.point = PoolHead(backbone.dim, len(PARAMETERS)) if parameters else None
        self.pixels = PixelHead(backbone.dim, channels, stride) if clean else None
        self.standard = Standard(len(PARAMETERS))
        self.register_buffer("used", torch.ones(len(PARAMETERS), dtype=torch.bool))

    def losses(self, batch: LensBatch, draws: Draws) -> Tensor:
        """The weighted sum of the mean squared error of the scaled parameters and of the misfit of the image."""
        return self._losses(*self._said(batch), self._truths(batch), batch)

    def predict(self, batch: LensBatch) -> SmoothLens:
        """Parameters in their own units, and the noise-free image; of a part left out the mean, or the image."""
        scaled, clean, features = self._said(batch)
        own = self.standard.mean.expand(len(batch), -1) if scaled is None else self.standard.physical(scaled)
        clean = batch.images if clean is None else clean
        return SmoothLens(features, own, clean)

    def table(self, prediction: SmoothLens) -> dict[str, list[Any]]:
        """The parameters that vary, by name."""
        columns = zip(PARAMETERS, self.used.tolist(), prediction.parameters.T.tolist(), strict=True)
        return {name: column for name, varies, column in columns if varies}

    def watched(self, prediction: Any, batch: LensBatch) -> Mapping[str, Tensor | None]:
        scaled = self.standard.scaled(prediction.parameters) if self.point is not None else None
        clean = prediction.clean if self.pixels is not None else None
        value = self._losses(scaled, clean, prediction.features, self._truths(batch), batch)
        return self.seen(prediction, batch) | {"value": value}

    @torch.no_grad()
    def prepare(self, batches: Sequence[LensBatch]) -> None:
        """Take scales of the parameters from training images, and leave out what is fixed or told by the class."""
        found = torch.cat([self._truths(batch) for batch in batches])
        known = bool(self.classes) and all(
            batch.labels is not None and batch.classes == self.classes for batch in batches
        )
        labels = torch.cat([batch.labels for batch in batches if known and batch.labels is not None] or [found[:0, 0]])
        of_class = F.one_hot(labels.long(), len(self.classes)).to(found) if known else found.new_ones(len(found), 1)
        there, values = found.isfinite().to(found), found.nan_to_num()
        count, mean = of_class.T @ there, values.sum(0) / there.sum(0).clamp_min(1)
        means = of_class.T @ values / count.clamp_min(1)
        missed = (there * (values - of_class @ means)).square().sum(0)
        within = (missed / there.sum(0).clamp_min(1)).sqrt()  # what varies within a class is not that class's alone
        told = ((means - mean).abs() * count.sqrt() > APART * within) & (count > 0)
        self.standard.fit(found)
        self.used.copy_((within > FIXED * mean.abs() + 1e-12) & ~told.any(0))

    def _said(self, batch: LensBatch) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Scaled parameters, the noise-free image and features."""
        features = self.backbone.features(batch.images, batch.context)
        point = None if self.point is None else self.point(features).float()
        pixels = None if self.pixels is None else self.pixels(features, *batch.images.shape[-2:]).float()
        return point, pixels, features[-1].mean()

    def _losses(
        self, point: Tensor | None, pixels: Tensor | None, features: Tensor, found: Tensor, batch: LensBatch
    ) -> Tensor:
        losses = features.new_zeros(len(batch))
        if point is not None:
            asked = self.used & found.isfinite()
            error = (point - self.standard.scaled(found).nan_to_num()).square()
            losses = losses + self.weights[0] * torch.where(asked, error, 0.0).sum(1) / asked.sum(1).clamp_min(1)
        if pixels is not None:
            losses = losses + self.weights[1] * misfit(pixels, batch.extras["clean"], batch, self.measure)
        return losses

    def _truths(self, batch: LensBatch) -> Tensor:
        """(B, P) float64; NaN where a preset has no such parameter."""
        unknown = batch.images.new_full((len(batch),), torch.nan, dtype=torch.float64)
        there = {drawn_as(name): batch.extras.get(drawn_as(name), unknown) for name in PARAMETERS}
        columns = [target(name, there) for name in PARAMETERS]
        lacking = [] if "clean" in batch.extras or not self.weights[1] else ["the noise-free image"]
        if self.weights[0] and not any(drawn_as(name) in batch.extras for name in PARAMETERS):
            lacking.append("the parameters")
        if lacking:
            raise InputError(
                f"physics: {' and '.join(lacking)} of these images cannot be had; they come with images that are "
                "simulated on the fly (without data.folder)"
            )
        return torch.stack(columns, 1)

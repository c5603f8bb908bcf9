"""The contract of a statistic as a callable: for the tests of this library, and for anybody's own class.

>>> from arcformer.tasks.anomaly import Mahalanobis
>>> check_statistic(Mahalanobis)
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.models import Backbone, VisionTransformer
from arcformer.models.check import check_gradients, check_round_trip, hold, require
from arcformer.tasks.anomaly.statistic import Scores, Statistic
from arcformer.tasks.check import SIDE, example_batch

__all__ = ["check_statistic"]

Make = Callable[[Backbone], Statistic]

ROUNDED = 0.1
"""The part of the scatter by which what is fitted to a few random images may differ, for half of the images: it is ill
determined, and where a search goes another way for a rounding error it may differ by more."""


def check_statistic(cls: Callable[..., Statistic], **options: Any) -> None:
    """Check that ``cls(backbone, **options)`` keeps the contract of ``Statistic``, on a small transformer.

    Takes seconds, runs on the CPU and leaves the global random state as it was.

    Raises:
        arcformer.models.check.BrokenContract: naming the clause.
    """

    def make(backbone: Backbone) -> Statistic:
        return cls(backbone, **options)

    hold(getattr(cls, "__name__", repr(cls)), CLAUSES, make)


def scores_are_finite(make: Make) -> None:
    """score gives Scores: (B,) and finite, also of one image and before anything is fitted."""
    statistic = _made(make)
    for fitted in (False, True):
        for images in (6, 1):
            scores = _scored(statistic, example_batch(images))
            require(isinstance(scores, Scores), f"it gives {type(scores).__name__}")
            require(scores.score.shape == (images,), f"score has shape {tuple(scores.score.shape)}")
            require(bool(scores.score.isfinite().all()), f"score is not finite; fitted: {fitted}")
        statistic.fit(_training())


def the_map_is_the_images(make: Make) -> None:
    """sigmas is (B, H, W), finite, or NaN all over, for images of any size."""
    statistic = _fitted(make)
    for height, width in ((SIDE, SIDE), (SIDE + 5, SIDE + 8)):
        images = torch.randn(3, 1, height, width)
        sigmas = _scored(statistic, LensBatch(images=images, noise_std=torch.ones_like(images))).sigmas
        require(sigmas.shape == (3, height, width), f"sigmas has shape {tuple(sigmas.shape)} for {height} x {width}")
        require(bool(sigmas.isfinite().all() or sigmas.isnan().all()), "sigmas is not finite")


def images_stand_alone(make: Make) -> None:
    """The score of an image does not depend on those beside it, and is the same at every call."""
    statistic, batch = _fitted(make), example_batch(7)
    together = _scored(statistic, batch)
    apart = Scores.collate([_scored(statistic, batch[rows]) for rows in (slice(0, 1), slice(1, 3), slice(3, 7))])
    _require_near(together, apart, "in other batches", 1e-3)
    _require_near(together, _scored(statistic, batch), "at a second call", 0.0)


def truth_is_not_looked_at(make: Make) -> None:
    """Without labels, targets, high_res and extras it says the same."""
    statistic, batch = _fitted(make), example_batch()
    blind = replace(batch, labels=None, targets=None, target_names=(), high_res=None, extras={})
    _require_near(_scored(statistic, batch), _scored(statistic, blind), "without truth", 0.0)


def fitting_does_not_depend_on_batches(make: Make) -> None:
    """Fitted to images at once, or to the same in small batches, it scores alike; and so it does when fitted again."""
    first, batch, training = _made(make), example_batch(), _training()
    second = copy.deepcopy(first)
    first.fit(training)
    whole = LensBatch.collate(training)
    second.fit([whole[start : start + 5] for start in range(0, len(whole), 5)])
    _require_near(_scored(first, batch), _scored(second, batch), "after smaller batches", ROUNDED)
    second.fit(training)
    _require_near(_scored(first, batch), _scored(second, batch), "when fitted again", ROUNDED)


def fitting_changes_buffers_alone(make: Make) -> None:
    """prepare and fit leave the weights as they are, those of the backbone too."""
    statistic = _made(make)
    there = [*statistic.parameters(), *statistic.backbone.parameters()]
    before = [parameter.clone() for parameter in there]
    statistic.prepare(_training())
    statistic.fit(_training())
    same = all(torch.equal(old, new) for old, new in zip(before, there, strict=True))
    require(same, "weights were changed")


def a_frozen_backbone_stays_out(make: Make) -> None:
    """The backbone is no part of it: it is the task's. Where it is not frozen, the loss trains it."""
    backbone = _backbone()
    statistic = make(backbone)
    own = {id(parameter) for parameter in statistic.parameters()}
    shared = [name for name, parameter in backbone.named_parameters() if id(parameter) in own]
    require(not shared, f"it holds {len(shared)} of the backbone's parameters")
    if not statistic.frozen and any(parameter.requires_grad for parameter in statistic.parameters()):
        statistic.prepare(_training())
        loss = statistic.loss(example_batch()).mean()
        trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
        slopes = torch.autograd.grad(loss, trained, allow_unused=True) if loss.requires_grad else ()
        reached = any(slope is not None and bool(slope.any()) for slope in slopes)
        require(reached, "it is not frozen, and the loss does not reach the backbone")


def loss_trains_every_parameter(make: Make) -> None:
    """loss is (B,), and its gradient reaches every parameter that is trained."""
    statistic, batch = _made(make), example_batch()
    loss = statistic.loss(batch)
    require(loss.shape == (len(batch),), f"loss has shape {tuple(loss.shape)}")
    if any(parameter.requires_grad for parameter in statistic.parameters()):
        check_gradients(statistic, lambda copied: copied.loss(batch).mean())


def survives_saving(make: Make) -> None:
    """Prepared, fitted, saved as safetensors and loaded beside the same backbone, it scores the same."""
    trained, batch = _fitted(make), example_batch()
    fresh = make(trained.backbone).eval()
    check_round_trip(trained, fresh)
    _require_near(_scored(trained, batch), _scored(fresh, batch), "when loaded", 0.0)


CLAUSES: list[Callable[..., None]] = [
    scores_are_finite,
    the_map_is_the_images,
    images_stand_alone,
    truth_is_not_looked_at,
    fitting_does_not_depend_on_batches,
    fitting_changes_buffers_alone,
    a_frozen_backbone_stays_out,
    loss_trains_every_parameter,
    survives_saving,
]


def _backbone() -> Backbone:
    return VisionTransformer(SIDE, 1, dim=16, depth=1, heads=2, patch=4).eval()


def _training() -> list[LensBatch]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return [example_batch(images) for images in (24, 12, 12)]


def _made(make: Make) -> Statistic:
    statistic = make(_backbone()).eval()
    statistic.prepare(_training())
    return statistic


def _fitted(make: Make) -> Statistic:
    statistic = _made(make)
    statistic.fit(_training())
    return statistic


@torch.no_grad()
def _scored(statistic: Statistic, batch: LensBatch) -> Scores:
    return statistic.score(batch)


def _require_near(first: Scores, second: Scores, when: str, share: float) -> None:
    """Alike to a ``share`` of the scatter over images, with a tenth of what is there; NaN is NaN.

    Sigmas have a unit: where images are fitted to far below their noise, rounding counts in sigmas all the same.
    """
    for name in ("score", "sigmas"):
        one, other = getattr(first, name), getattr(second, name)
        scale = max(_scale(one), 1.0) if name == "sigmas" else _scale(one)
        gaps = (one - other).nan_to_num().abs()
        gap = float(gaps.median() if share == ROUNDED else gaps.max())
        same = torch.equal(one.isnan(), other.isnan()) and gap <= share * scale
        require(same, f"{name} differs {when} by up to {gap:.2g}, its scatter being {scale:.2g}")


def _scale(values: Tensor) -> float:
    values = values.nan_to_num().double()
    return float(values.std() + values.abs().mean() / 10) + 1e-12

"""What a network looks at: maps over the image, each with what it means and how it is drawn.

``rollout``   how much of each place is in what the network pools, by its attention (Abnar & Zuidema 2020, arXiv
              2005.00928; ``models/attention.py``). Of no class: it says what may have been used, not what for.
``norms``     how long the tokens of the last map are.
``gradient``  integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365): what each pixel adds to the log odds of
              the class that is predicted, from a flat sky to the image,

                  (x - x0) int_0^1 grad F(x0 + a (x - x0)) da,    F = log p / (1 - p),

              whose sum over the pixels is F(x) - F(x0). Defined for every network, transformer or not.

Shapes: B images, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.errors import InputError, near
from arcformer.models.attention import NotDefined, painted, rollout, token_norms
from arcformer.studies.pictures import Layer, amount_layer, signed_layer
from arcformer.tasks import Task

__all__ = ["MAPS", "Map", "check_names", "explain", "integrated_gradients", "layers"]

STEPS = 24
"""Places between flat sky and image at which gradients are taken, those of Gauss and Legendre."""

SMOOTH = 1.0
"""Gradients are drawn as a running mean, a Gaussian of this many pixels: single ones are noise."""


@dataclass(frozen=True)
class Map:
    """A way to explain.

    Attributes:
        of: a task and its batch to (B, H, W); raises ``NotDefined`` for networks that have no such map.
        drawn: such a map as a layer of a picture.
    """

    of: Callable[[Task, LensBatch], Tensor]
    drawn: Callable[[Tensor], Layer]


def explain(
    task: Task, batch: LensBatch, names: Sequence[str] | None = None
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Maps (B, H, W) of what ``task``, in evaluation, looks at in images as its run's transform gives them.

    Args:
        names: which of ``MAPS``, None for all that are defined.

    Returns:
        The maps by name, and why there are not more.

    Raises:
        InputError: a name that is not known.
        NotDefined: a map that was named and that the network does not have.

    Example:
        >>> maps, missing = explain(run.task, run.transform(batch))
        >>> maps["rollout"]  # (B, H, W)
    """
    found, missing = {}, []
    names = check_names(names)
    for name in MAPS if names is None else names:
        try:
            found[name] = MAPS[name].of(task, batch)
        except NotDefined as error:
            if names is not None:
                raise
            missing.append(str(error))
    return found, tuple(missing)


def check_names(names: Sequence[str] | None) -> list[str] | None:
    """The ``names`` of maps, each once; None for none at all. Raises ``InputError`` for one that is not known."""
    for name in names or ():
        if name not in MAPS:
            raise InputError(f"there is no map {name!r}; {near(name, MAPS)}")
    return list(dict.fromkeys(names)) if names else None


def layers(maps: Mapping[str, Tensor]) -> list[Layer]:
    """Maps as ``explain`` gives them, as layers of a picture."""
    return [MAPS[name].drawn(found.float().cpu()) for name, found in maps.items()]


def integrated_gradients(task: Task, batch: LensBatch, *, steps: int = STEPS) -> Tensor:
    """What each pixel adds to the log odds of the predicted class: (B, C, H, W).

    The sky that it begins from is flat, the median of each image and channel.

    Raises:
        NotDefined: for a task that tells no classes apart.
    """
    with torch.no_grad():
        logits = getattr(task.predict(batch), "logits", None)
    if logits is None:
        raise NotDefined(
            f"gradient: {type(task).__name__} tells no classes apart, so that there are no odds; leave it out"
        )
    images, best = batch.images.detach(), logits.argmax(1)
    sky = images.flatten(2).median(2).values[..., None, None]
    places, weights = np.polynomial.legendre.leggauss(steps)
    total = torch.zeros_like(images)
    for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
        with torch.enable_grad():
            between = (sky + place * (images - sky)).requires_grad_()
            odds = log_odds(task.predict(replace(batch, images=between)).logits, best)  # pyright: ignore
            total += weight * torch.autograd.grad(odds.sum(), between)[0]
    return total * (images - sky)


def log_odds(logits: Tensor, best: Tensor) -> Tensor:
    """log p / (1 - p) of the class ``best`` (B,), for ``logits`` (B, K)."""
    others = logits.scatter(1, best[:, None], -torch.inf)
    return logits.gather(1, best[:, None])[:, 0] - others.logsumexp(1)


def _rollout(task: Task, batch: LensBatch) -> Tensor:
    return rollout(task.backbone, batch.images)


def _norms(task: Task, batch: LensBatch) -> Tensor:
    last = token_norms(task.backbone, batch.images)[-1]
    size = (batch.images.shape[2], batch.images.shape[3])
    return painted(last.x[:, 0], last.stride, size, outside=torch.nan)


def _gradient(task: Task, batch: LensBatch) -> Tensor:
    return integrated_gradients(task, batch).sum(1)


def _smoothed(planes: Tensor) -> Tensor:
    return torch.from_numpy(gaussian_filter(planes.numpy(), SMOOTH, axes=(1, 2)))


MAPS = {
    "rollout": Map(_rollout, lambda planes: amount_layer(planes * planes[0].numel(), "attention roll-out (1: even)")),
    "norms": Map(_norms, lambda planes: amount_layer(planes, "length of tokens")),
    "gradient": Map(_gradient, lambda planes: signed_layer(_smoothed(planes), "adds to log odds, per pixel")),
}
"""Ways to explain, by name, in the order in which they are drawn."""

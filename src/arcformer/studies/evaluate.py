"""Evaluation: a run on a finite set of images that nothing was chosen on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.data.source import BatchSource
from arcformer.errors import InputError
from arcformer.progress import track, working
from arcformer.studies.classification.evaluation import ClassGathering
from arcformer.studies.detection.evaluation import DetectionGathering
from arcformer.studies.evaluation import PICTURED, Evaluation, Gathering
from arcformer.studies.regression.evaluation import PosteriorGathering
from arcformer.studies.restoration.evaluation import RestoredGathering

if TYPE_CHECKING:
    from arcformer.training import Run

__all__ = ["KINDS", "evaluate", "told_by"]

KINDS: tuple[type[Gathering], ...] = (ClassGathering, PosteriorGathering, DetectionGathering, RestoredGathering)
"""All that a prediction can be measured as. The first that suits it is taken."""


def told_by(names: Iterable[str]) -> list[str]:
    """Of the names of numbers, those by which a result is told and runs are compared.

    A kind of result is there if the first of its ``columns`` is. Names of validations are known too, as
    ``validation_mae/theta_E``.
    """
    plain = {name: name.removeprefix("validation_").replace("/", "_") for name in names}
    told: dict[str, None] = {}
    for kind in KINDS:
        found = [[n for n in plain if fnmatchcase(plain[n], pattern)] for pattern in kind.evaluation.columns]
        told |= dict.fromkeys(name for column in found for name in column) if found[0] else {}
    return list(told)


@torch.no_grad()
def evaluate(
    run: Run, images: BatchSource | Iterable[LensBatch], *, name: str, about: str = "", seed: int = 0
) -> Evaluation:
    """Compare what a run predicts with what is known, on the device where the weights of ``run.task`` lie.

    Nothing is chosen here: calibration and transform are those of the run.

    Args:
        run: as ``arcformer.load`` gives it.
        images: a source of finite length, or batches in physical units.
        name, about: see ``Evaluation``; without ``about`` only the number of images is told.
        seed: of the intervals and of whatever is fitted for comparison.

    Raises:
        InputError: a source without end or without images, images without the truth that the task predicts, or a task
            whose predictions cannot be compared with any.
    """
    device = next(run.task.parameters()).device
    gathering: Gathering | None = None
    pictured, ids, count, seconds = [], [], 0, 0.0
    wanted = Counter[int]()
    total = images.batches if isinstance(images, BatchSource) else None
    for batch in track(_batches(images), f"evaluating {name}", total, size=len):
        start = time.perf_counter()
        seen = run.transform(batch.to(device))
        prediction = run.task.predict(seen)
        if gathering is None:
            gathering = _kind(run, prediction)(run, name, seed)
        gathering.check(batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds += time.perf_counter() - start
        gathering.take(prediction, batch, seen)
        count += len(batch)
        ids += batch.ids
        pictured += _first_of_each(batch, wanted)
    if gathering is None:
        raise InputError(f"evaluation {name!r}: there are no images")
    with working(f"measuring {name}"):
        return gathering.conclude(
            name=name,
            about=about or f"{count:,} images",
            images=count,
            ids=tuple(ids) if len(ids) == count else (),
            pictured=LensBatch.collate(pictured),
            seconds=seconds,
            seed=seed,
        )


def _batches(images: BatchSource | Iterable[LensBatch]) -> Iterator[LensBatch]:
    if not isinstance(images, BatchSource):
        yield from images
        return
    if images.batches is None:
        raise InputError("an evaluation needs an end, and this source has none: give it a count of images")
    for k in range(images.batches):
        yield images.batch(k)


def _kind(run: Run, prediction: Any) -> type[Gathering]:
    """What a prediction can be measured as, by its fields."""
    for kind in KINDS:
        if all(isinstance(getattr(prediction, field, None), Tensor) for field in kind.fields):
            return kind
    raise InputError(
        f"{type(run.task).__name__} predicts nothing that an evaluation can measure: neither "
        f"{' nor '.join(', '.join(kind.fields) for kind in KINDS)}"
    )


def _first_of_each(batch: LensBatch, taken: Counter[int]) -> list[LensBatch]:
    """The images that are wanted for the picture, without what a picture does not need; counts them in ``taken``."""
    labels = [0] * len(batch) if batch.labels is None else batch.labels.tolist()
    rows = []
    for row, label in enumerate(labels):
        if taken[label] < PICTURED:
            taken[label] += 1
            rows.append(row)
    if not rows:
        return []
    kept = batch[rows].to("cpu")
    return [LensBatch(kept.images.clone(), kept.labels, kept.classes, pixel_scale=kept.pixel_scale, unit=kept.unit)]

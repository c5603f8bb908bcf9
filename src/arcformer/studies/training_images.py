"""The first training images of a run, as its network saw them: what is fitted without a network is fitted to these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from arcformer.batch import LensBatch
from arcformer.training.sources import open_sources, simulated_on

if TYPE_CHECKING:
    from arcformer.training import Run

__all__ = ["FITTED_ON", "first_training_images"]

FITTED_ON = 3000
"""Images, at most, that a model without a network is fitted to."""


def first_training_images(run: Run) -> Iterator[tuple[LensBatch, LensBatch]]:
    """Batches as they came, and on the pixels that the network sees, both in physical units; ``FITTED_ON`` or more.

    The configuration of a run gives its images again, so nothing has to be kept of them.

    Raises:
        InputError: training images that are not there any more.
    """
    device = next(run.task.parameters()).device
    train, _ = open_sources(run.config, run.folder / "split.json", simulated_on(device))
    images = 0
    for k in range(train.batches or FITTED_ON):
        batch = train.batch(k)
        yield batch, run.transform.inverse(run.transform(batch.to(device)))
        images += len(batch)
        if images >= FITTED_ON:
            return

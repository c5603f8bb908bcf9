"""``embed``: files in, a vector of features for each out; and which files a run takes to be like another one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from arcformer.catalogue import origin, write_catalogued
from arcformer.seen import Seen, device_of, seen_by, through
from arcformer.studies.pictures import gallery
from arcformer.studies.probe import pooled

if TYPE_CHECKING:
    from arcformer.training import Run

__all__ = ["Embedding", "embed", "nearest", "picture", "write_embedding"]


@dataclass(frozen=True)
class Embedding:
    """Features of files.

    Attributes:
        features: (N, D), float32: the mean over the cells of the backbone's last feature map.
        paths: N files.
        notes: for each of them, in what it is not as in training.
        skipped: a line for each bad file that was left out.
        junk: how many files in folders were passed over as no images.
    """

    features: Tensor
    paths: tuple[Path, ...]
    notes: tuple[tuple[str, ...], ...]
    skipped: tuple[str, ...] = ()
    junk: int = 0

    def __len__(self) -> int:
        return len(self.paths)


@torch.no_grad()
def embed(
    run: Run,
    paths: Iterable[str | Path],
    *,
    skip_bad: bool = False,
    centre: tuple[float, float] | None = None,
    progress: Callable[[Sequence[Path]], Iterable[Path]] = iter,
    **options: Any,
) -> Embedding:
    """The features of images in files, read as ``predict`` reads them and held one at a time.

    Args:
        run: of any task, as ``arcformer.load`` gives it; its backbone is what is asked.
        paths, skip_bad, centre, progress, options: as ``predict`` takes them.

    Raises:
        BadFile: without ``skip_bad``, the first file that cannot be used; with it, when none can.
        InputError: a path that does not exist, no image at all, or an option that a format does not have.

    Example:
        >>> embed(arcformer.load("run"), ["cutouts"]).features.shape
        torch.Size([250, 128])
    """
    reading = {"skip_bad": skip_bad, "centre": centre, "progress": progress, **options}
    found, skipped, junk = through(run, paths, partial(_embedded, run), **reading)
    rows, names, notes = zip(*found, strict=True)
    return Embedding(torch.cat(rows), names, notes, skipped, junk)


def write_embedding(out: Path, embedding: Embedding, run: Run) -> Path:
    """Write ``features`` as safetensors to ``out``, and beside it the catalogue: a line ``row,file,notes`` a file.

    The run and the SHA-256 of its backbone's weights are in the metadata.

    Returns:
        Where the catalogue lies.

    Raises:
        InputError: it cannot be written there.
    """
    about = {"embedding": origin(run, "backbone")}
    return write_catalogued(out, {"features": embedding.features}, embedding.paths, embedding.notes, about)


def nearest(features: Tensor, others: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The rows of ``others`` (N, D) that are most like ``features`` (D,), at most ``count``, and their cosines."""
    cosines = torch.nn.functional.cosine_similarity(features[None].double(), others.double())
    found = cosines.topk(min(count, len(others)))
    return found.indices, found.values


def picture(run: Run, file: Path, others: Sequence[Path], **reading: Any) -> Figure:
    """A file, and below it others, as a run sees them; each in its own stretch."""
    seen = {name: [seen_by(run, path, **reading).image for path in paths]
            for name, paths in (("image", [file]), ("nearest", others))}  # fmt: skip
    return gallery(seen)


def _embedded(run: Run, one: Seen) -> tuple[Tensor, Path, tuple[str, ...]]:
    return pooled(run.task.backbone, one.seen.to(device_of(run))).cpu(), one.path, one.notes

"""What is settled before the first step: the folder is free, files are whole and split, the transform is fitted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from arcformer.batch import LensBatch
from arcformer.config import flat, read, write
from arcformer.data.domain import Domain
from arcformer.data.transforms import Transform
from arcformer.disk import whole
from arcformer.errors import InputError
from arcformer.progress import track
from arcformer.training.folder import Run
from arcformer.training.recipe import RunConfig
from arcformer.training.sources import first_images, open_sources, simulated_on, split_files
from arcformer.training.start import Start, scaled_alike

__all__ = ["check_folder", "nothing_left_behind", "prepare"]

CPU = torch.device("cpu")

WRITTEN = ("config.toml", "split.json", "skipped.txt", "start.json", "transform.json", "domain.json")


def check_folder(config: RunConfig, folder: Path, resume: bool) -> None:
    """See that a run of ``config`` can be written to ``folder``: it is new or empty, or ``resume`` and the same run's.

    Raises:
        InputError: it is neither; for another configuration, with the fields that differ.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder for the run")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not resume:
        raise InputError(
            f"{folder} is not empty, and nothing is overwritten: resume the run in it, or name a new folder"
        )
    if not (folder / "config.toml").exists():
        raise InputError(f"{folder} cannot be resumed: it is not empty and holds no config.toml")
    there, given = (flat(c.model_dump(mode="json")) for c in (read(RunConfig, folder / "config.toml"), config))
    differing = [
        f"{name} is {there.get(name)!r} there and {given.get(name)!r} here"
        for name in sorted(there.keys() | given.keys())
        if there.get(name) != given.get(name)
    ]
    if differing:
        raise InputError(f"{folder} holds a run of another configuration: {'; '.join(differing)}")


def prepare(
    config: RunConfig,
    folder: Path,
    console: Console,
    start: Run | None = None,
    device: torch.device = CPU,
) -> list[LensBatch]:
    """Write ``config.toml``, ``split.json``, ``transform.json`` and ``domain.json``, those that are not there yet.

    And ``start.json``, of a run that begins with the weights of ``start``. ``device``: where it is trained.

    Returns:
        The training images that they were fitted to, in physical units; none where all was there.

    Raises:
        InputError: unusable data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.toml").exists():
        with whole(folder / "config.toml") as path:
            write(config, path)
    if config.data.folder is not None and not (folder / "split.json").exists():
        with whole(folder / "split.json") as path:
            bad = split_files(config, path, lambda paths: track(paths, "checking files", unit="files", console=console))
            if bad:
                (folder / "skipped.txt").write_text("\n".join(bad) + "\n")
    batches: list[LensBatch] = []
    if not (folder / "domain.json").exists():
        train, _ = open_sources(config, folder / "split.json", simulated_on(device))
        batches = list(track(first_images(train), "first images", unit="batches", console=console))
        if start is None:
            transform = Transform(config.transform).fit(batches)
        else:
            transform, scaling = scaled_alike(start, config.transform, batches)
            replace(Start.of(start), scaling=scaling).save(folder)
        transform = _of_one_size(transform, batches[0])
        with whole(folder / "transform.json") as path:
            transform.save(path)
        with whole(folder / "domain.json") as path:
            Domain.fit(batches, transform).save(path)
    return batches


def _of_one_size(transform: Transform, batch: LensBatch) -> Transform:
    """The transform with the size of the training images where none was chosen: it crops larger ones to that."""
    height, width = transform(batch).images.shape[-2:]
    if transform.section.size is not None or height != width:
        return transform
    return replace(transform, section=transform.section.model_copy(update={"size": height}))


@contextmanager
def nothing_left_behind(folder: Path) -> Iterator[None]:
    """Takes away what ``prepare`` wrote if the user has to change something before the first step can be taken.

    So the folder can be named again when that is done. A run that has begun is left alone.
    """
    new = not folder.exists()
    fresh = new or not any(folder.iterdir())
    try:
        yield
    except InputError:
        if fresh and not (folder / "log.jsonl").exists():
            for name in WRITTEN:
                (folder / name).unlink(missing_ok=True)
            if new and folder.exists() and not any(folder.iterdir()):
                folder.rmdir()
        raise

"""Writing a store: simulated images on disk, the same bytes whatever the number of workers and of interruptions.

Shard k is a pure function of the plan and k. It is renamed when it is whole, and then entered in a journal with its
digest, so that a store that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arcformer.data.index import INDEX, JOURNAL, Index, Plan, is_store, read_recorded, start_journal
from arcformer.data.shards import Shard, write_shard
from arcformer.data.workers import done_by
from arcformer.disk import check_space, unwritable, whole
from arcformer.errors import InputError, near
from arcformer.sim.presets import PRESETS, Preset
from arcformer.sim.render import can_compile, clean_images, draw, simulate

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

__all__ = ["write_store"]

Progress = Callable[[Iterable[Shard], int], Iterable[Shard]]

TEXTS = ("name", "summary", "aliases", "faults", "assumptions", "provenance")
"""Fields of a preset that no image depends on."""


def write_store(
    preset: Preset | str,
    folder: str | Path,
    *,
    count: int,
    seed: int = 0,
    pixels: int | None = None,
    labels: str | None = None,
    workers: int = 1,
    shard: int = 1024,
    progress: Progress | None = None,
) -> Path:
    """Simulate images of a preset into ``folder``: shards of named tensors, and ``index.json``.

    Called again for the same store it goes on with what is there: shards that are whole are kept, the others are made.
    All bytes of a store follow from ``preset``, ``count``, ``seed``, ``pixels``, ``labels`` and ``shard``, the versions
    of arcformer and torch, and whether the renderer is compiled. Memory is that of a shard for each worker, whatever
    the count.

    >>> write_store("deeplense/model-1", "lenses", count=3000, seed=1)
    >>> StoredBatches("lenses", batch_size=64).batch(0)

    Args:
        preset: a preset or the name of one.
        folder: new, empty, or with this same store in it.
        count: how many images; the classes are balanced in each shard.
        seed: same seed, same images.
        pixels: side of the central part to render; None for the whole image.
        labels: the one class to simulate; None for all of them.
        workers: processes that simulate, on one thread each. More than one are new processes, so that a script must
            ask for them below ``if __name__ == "__main__":``.
        shard: images in a file.
        progress: wraps the shards while they are written, and takes their number; ``len`` of a shard is its images.

    Returns:
        The path of the index.

    Raises:
        InputError: unknown preset or class, a number that cannot be, another store or other files in ``folder``, a
            folder that cannot be written, too little space on its disk.
    """
    for name, value in (("count", count), ("workers", workers), ("shard", shard)):
        if value < 1:
            raise InputError(f"{name} is {value}: expected a whole number of at least 1")
    job = _Job(preset, Path(folder), seed, pixels, labels)
    plan, image_bytes = _plan(job, count, shard)
    with unwritable(job.folder):
        recorded = _recorded(job.folder, plan)
        missing = sum(n for file, n in plan.sizes.items() if file not in recorded or not (job.folder / file).exists())
        check_space(job.folder, missing * image_bytes, f"{missing} images of {plan.preset}")
        with _alone(job.folder):
            return _write(job, plan, workers, progress or (lambda shards, total: shards))


@dataclass(frozen=True)
class _Job:
    """What a worker has to know. A preset that is named is looked up where it is used."""

    preset: Preset | str
    folder: Path
    seed: int
    pixels: int | None
    only: str | None

    @property
    def found(self) -> Preset:
        return PRESETS.get(self.preset) if isinstance(self.preset, str) else self.preset

    def __call__(self, task: tuple[int, str, int]) -> Shard:
        k, file, images = task
        labels = None if self.only is None else [self.only] * images
        drawn = {"seed": self.seed, "names": ("store", k), "labels": labels, "pixels": self.pixels}
        return write_shard(self.folder / file, simulate(self.found, images, **drawn))


def _plan(job: _Job, count: int, shard: int) -> tuple[Plan, int]:
    """The plan of a job that can be done, and how many bytes an image will take, about."""
    preset = job.found
    if job.only is not None and job.only not in preset.classes:
        raise InputError(f"unknown class {job.only!r} of preset {preset.name}: {near(job.only, preset.classes)}")
    drawn = draw(preset, torch.tensor([0]), job.seed, "store")
    image = clean_images(preset, drawn, pixels=job.pixels, compiled=False)
    plan = Plan(
        preset=preset.name,
        definition=_digest(preset),
        seed=job.seed,
        count=count,
        pixels=image.shape[-1],
        only=job.only,
        shard_size=shard,
        compiled=can_compile(),
        arcformer=_version(),
        torch=str(torch.__version__),
        classes=preset.classes,
        target_names=preset.targets,
        unit=preset.unit,
    )
    return plan, image.numel() * (2 if preset.unit == "counts" else 4) + sum(t.nbytes for t in drawn.values())


def _recorded(folder: Path, plan: Plan) -> dict[str, Shard]:
    """The shards of this plan that ``folder`` is said to hold, by their files.

    Raises:
        InputError: something else lies there.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder for the store")
    if not folder.exists() or all(path.name.startswith(".") for path in folder.iterdir()):
        return {}
    if not is_store(folder):
        raise InputError(f"{folder} is not empty, and nothing is overwritten: name a new folder")
    there, shards = read_recorded(folder)
    differing = [
        f"{f.name} is {getattr(there, f.name)!r} there and {getattr(plan, f.name)!r} here"
        for f in fields(Plan)
        if getattr(there, f.name) != getattr(plan, f.name)
    ]
    if differing:
        raise InputError(f"{folder} holds another store, and nothing is overwritten: {'; '.join(differing)}")
    return {shard.file: shard for shard in shards}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The folder, made if need be, and no other process that writes a store to it. A kill sets it free."""
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another process is writing a store to {folder}; wait for its end") from None
        yield
    finally:
        os.close(handle)


def _write(job: _Job, plan: Plan, workers: int, progress: Progress) -> Path:
    recorded, index, journal = _recorded(job.folder, plan), job.folder / INDEX, job.folder / JOURNAL
    if not index.exists():
        with whole(journal) as path:
            start_journal(path, plan, recorded.values())
    written = progress(_shards(job, plan, recorded, workers), len(plan.sizes))
    shards = {shard.file: shard for shard in written}
    with whole(index) as path:
        Index(plan, tuple(shards[file] for file in plan.sizes)).save(path)
    journal.unlink(missing_ok=True)
    return index


def _shards(job: _Job, plan: Plan, recorded: Mapping[str, Shard], workers: int) -> Iterator[Shard]:
    """All shards of the plan: first those that are there and whole, then the others as they are made."""
    missing = []
    for k, (file, images) in enumerate(plan.sizes.items()):
        if file in recorded and not recorded[file].fault(job.folder, read=True):
            yield recorded[file]
        else:
            missing.append((k, file, images))
    made = done_by(min(workers, len(missing)), job, missing) if missing else iter(())
    if (job.folder / INDEX).exists():  # a finished store is mended
        yield from made
        return
    with (job.folder / JOURNAL).open("a") as journal:
        for shard in made:
            journal.write(json.dumps(asdict(shard)) + "\n")
            journal.flush()
            yield shard


def _version() -> str:
    try:
        return version("arcformer")
    except PackageNotFoundError:
        return "not installed"


def _digest(preset: Preset) -> str:
    """What tells apart two presets of one name: a digest of all that their images depend on."""
    return hashlib.sha256(json.dumps(_described(preset)).encode()).hexdigest()[:16]


def _described(value: Any) -> Any:
    """A value as JSON that is the same in every process."""
    if is_dataclass(value):
        parts = [(f.name, _described(getattr(value, f.name))) for f in fields(value) if f.name not in TEXTS]
        return [type(value).__name__, parts]
    if isinstance(value, Mapping):
        return [(key, _described(inner)) for key, inner in value.items()]
    if isinstance(value, (tuple, list)):
        return [_described(inner) for inner in value]
    if isinstance(value, Tensor):
        return [str(value.dtype), list(value.shape), hashlib.sha256(value.cpu().numpy().tobytes()).hexdigest()]
    return value if isinstance(value, (str, int, float, bool, type(None))) else type(value).__qualname__

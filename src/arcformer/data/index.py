"""The index of a store: how its images were made, and the digest of every shard.

``index.json`` is written last: where it is, the store is whole. Until then a journal stands in its place, with the plan
and a line for each shard that is there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from arcformer.data.image import BadFile
from arcformer.data.shards import Shard
from arcformer.errors import InputError

__all__ = ["INDEX", "JOURNAL", "Index", "Plan", "check_store", "is_store", "read_recorded", "start_journal"]

FORMAT = "arcformer store 1"
INDEX = "index.json"
JOURNAL = "unfinished.jsonl"
MEND = "write the same store to the same folder again: what is whole is kept"


@dataclass(frozen=True)
class Plan:
    """All that decides the bytes of a store.

    Attributes:
        preset, definition: the name of a preset, and a digest of its priors.
        seed: of all random numbers.
        count: images in the store.
        pixels: side of the images.
        only: the one class that is in it; None for all of them, balanced.
        shard_size: images in a shard; the last one holds what remains.
        compiled: whether the renderer was compiled, which decides the last bit of a pixel.
        arcformer, torch: versions.
        classes, target_names, unit: those of its batches.
    """

    preset: str
    definition: str
    seed: int
    count: int
    pixels: int
    only: str | None
    shard_size: int
    compiled: bool
    arcformer: str
    torch: str
    classes: tuple[str, ...]
    target_names: tuple[str, ...]
    unit: str

    @property
    def sizes(self) -> dict[str, int]:
        """How many images each file of the store holds, in order."""
        starts = range(0, self.count, self.shard_size)
        return {f"shard-{k:05d}.safetensors": min(self.shard_size, self.count - at) for k, at in enumerate(starts)}

    def ids(self, rows: Iterable[int]) -> tuple[str, ...]:
        """Names of images of the store, as the simulator gives them: ``preset/seed/store/shard/row``."""
        places = (divmod(row, self.shard_size) for row in rows)
        return tuple(f"{self.preset}/{self.seed}/store/{shard}/{row}" for shard, row in places)


@dataclass(frozen=True)
class Index:
    """What ``index.json`` says of a store."""

    plan: Plan
    shards: tuple[Shard, ...]

    @property
    def sha256(self) -> str:
        """The digest of the digests of all shards: where it is the same, so is every byte."""
        return hashlib.sha256("\n".join(shard.sha256 for shard in self.shards).encode()).hexdigest()

    @property
    def names(self) -> tuple[str, ...]:
        """The ids of all images, in order: what splits are made of."""
        return self.plan.ids(range(self.plan.count))

    def save(self, path: Path) -> None:
        content = {"format": FORMAT, "sha256": self.sha256} | asdict(self.plan)
        path.write_text(json.dumps(content | {"shards": [asdict(shard) for shard in self.shards]}, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> Index:
        """The index of the store in ``folder``.

        Raises:
            InputError: no such folder, no store in it, or one that is not finished.
            BadFile: an index that cannot be read, or a shard that is missing or of the wrong size, by name.
        """
        folder = Path(folder)
        if not (folder / INDEX).is_file():
            if (folder / JOURNAL).exists():
                raise InputError(f"the store in {folder} is not finished; {MEND}")
            raise InputError(f"{folder}: no store of simulated images; there is no {INDEX} in it")
        index = cls(*read_recorded(folder))
        _complain([fault for shard in index.shards if (fault := shard.fault(folder, read=False))])
        return index


def is_store(folder: str | Path) -> bool:
    """Whether ``folder`` holds a store, finished or not, rather than files in a layout of DeepLense."""
    try:
        return Path(folder, JOURNAL).exists() or json.loads(Path(folder, INDEX).read_text())["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        return False


def check_store(folder: str | Path, progress: Callable[[Iterable[Path]], Iterable[Path]] = iter) -> Index:
    """Read every byte of a store once and compare it with its index.

    Args:
        folder: of the store.
        progress: wraps the paths of the shards while they are read, as a progress bar does.

    Raises:
        InputError: as ``Index.load`` says.
        BadFile: a shard that is damaged, by name, and how many more there are.
    """
    folder, index = Path(folder), Index.load(folder)
    shards = {folder / shard.file: shard for shard in index.shards}
    _complain([fault for path in progress(list(shards)) if (fault := shards[path].fault(folder, read=True))])
    return index


def read_recorded(folder: Path) -> tuple[Plan, tuple[Shard, ...]]:
    """The plan of the store in ``folder``, finished or not, and the shards that are recorded; no file is looked at.

    Raises:
        BadFile: its index or journal is damaged.
    """
    path = folder / INDEX if (folder / INDEX).exists() else folder / JOURNAL
    try:
        text = path.read_text()
        if path.name == INDEX:
            content = json.loads(text)
            lines = content["shards"]
        else:  # the last line is empty, or torn where the writing was killed
            content, *lines = [json.loads(line) for line in text.split("\n")[:-1]]
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}; expected {FORMAT!r}")
        known = (content[f.name] for f in fields(Plan))
        values: list[Any] = [tuple(value) if isinstance(value, list) else value for value in known]
        plan, shards = Plan(*values), tuple(Shard(**line) for line in lines)
        images = {shard.file: shard.images for shard in shards}
        if path.name == INDEX and (images != plan.sizes or Index(plan, shards).sha256 != content["sha256"]):
            raise ValueError(f"its shards do not make up its {plan.count} images")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadFile(f"{path}: damaged, it does not describe a store ({error!r})") from None
    return plan, shards


def start_journal(path: Path, plan: Plan, shards: Iterable[Shard]) -> None:
    """Write a journal with the shards that are there so far."""
    lines = [{"format": FORMAT} | asdict(plan), *map(asdict, shards)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _complain(faults: Sequence[str]) -> None:
    if faults:
        more = f" (and {len(faults) - 1} more shards)" if len(faults) > 1 else ""
        raise BadFile(f"{faults[0]}{more}; {MEND}")

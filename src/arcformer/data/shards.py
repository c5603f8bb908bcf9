"""A shard: images and all that is known of them as named tensors in one safetensors file, which any reader opens.

``images``, ``labels``, ``targets``, ``pixel_scale``, ``psf``, and every drawn parameter under ``extras.``, all in the
order of the images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.data.image import BadFile
from arcformer.disk import whole

__all__ = ["Shard", "join_rows", "open_shard", "write_shard"]

ONCE = "psf"
"""Stored once where all images share it."""


@dataclass(frozen=True)
class Shard:
    """What is known of the file of a shard; its length is that of its images."""

    file: str
    images: int
    bytes: int
    sha256: str

    def __len__(self) -> int:
        return self.images

    def fault(self, folder: Path, *, read: bool) -> str | None:
        """What is wrong with the file: it is missing, of another size or, if it is to be ``read``, of other content."""
        path = folder / self.file
        if not path.is_file():
            return f"{path}: missing"
        if path.stat().st_size != self.bytes:
            return f"{path}: damaged, it has {path.stat().st_size} bytes and should have {self.bytes}"
        if read:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != self.sha256:
                    return f"{path}: damaged, its content is not what was written"
        return None


def write_shard(path: Path, batch: LensBatch) -> Shard:
    """Write a batch, in such a way that the same batch is the same bytes and no file is there by halves.

    Counts are stored as the integers they are, and a PSF that all images share once: nothing is lost.
    """
    tensors = {f.name: value for f in fields(batch) if isinstance(value := getattr(batch, f.name), Tensor)}
    tensors |= {f"extras.{name}": tensor for name, tensor in batch.extras.items()}
    if batch.unit == "counts":
        tensors["images"] = _as_integers(batch.images)
    if batch.psf is not None and bool((batch.psf == batch.psf[:1]).all()):
        tensors[ONCE] = batch.psf[:1]
    # no metadata: safetensors writes more than one entry in random order
    content = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
    with whole(path) as unfinished:
        unfinished.write_bytes(content)
    return Shard(path.name, len(batch), len(content), hashlib.sha256(content).hexdigest())


def open_shard(path: Path, images: int, *, extras: bool = True) -> dict[str, Tensor]:
    """The tensors of a shard as views of the mapped file: of what is not touched nothing is read.

    Raises:
        BadFile: it is not a shard of ``images`` images.
    """
    try:
        with safe_open(path, "pt") as file:
            names = [name for name in file.keys() if extras or not name.startswith("extras.")]  # noqa: SIM118
            tensors = {name: file.get_tensor(name) for name in names}
        found = {len(tensor) for name, tensor in tensors.items() if name != ONCE}
    except (OSError, SafetensorError, TypeError) as error:
        raise BadFile(f"{path}: missing or damaged ({error})") from None
    if found != {images} or "images" not in tensors:
        raise BadFile(f"{path}: damaged, it should hold {images} images")
    return tensors


def join_rows(parts: Sequence[tuple[dict[str, Tensor], Tensor]], **known: Any) -> LensBatch:
    """The images of ``parts`` as a batch: tensors of a shard, as ``open_shard`` gives them, and rows of it.

    Args:
        parts: at least one.
        known: what is not in a shard: ``classes``, ``target_names``, ``ids``, ``unit``.
    """
    joined = {name: torch.cat([_rows(tensors, name, rows) for tensors, rows in parts]) for name in parts[0][0]}
    extras = {name.removeprefix("extras."): joined.pop(name) for name in sorted(joined) if "." in name}
    named: dict[str, Any] = {**joined, **known}
    return LensBatch(**named, extras=extras)


def _rows(tensors: dict[str, Tensor], name: str, rows: Tensor) -> Tensor:
    tensor = tensors[name]
    if name == ONCE and len(tensor) == 1:
        return tensor.expand(len(rows), *tensor.shape[1:])
    taken = tensor.index_select(0, rows)
    return taken.float() if name == "images" else taken


def _as_integers(images: Tensor) -> Tensor:
    """The same numbers as uint16, or as int32 if they are larger or negative; as they came if they are no integers."""
    low, high = (float(value) for value in images.aminmax())
    if not -(2**31) < low <= high < 2**31:
        return images
    integers = images.to(torch.uint16 if low >= 0 and high < 2**16 else torch.int32)
    return integers if torch.equal(integers.to(images.dtype), images) else images

"""Numbers of files: a tensor whose rows are files, as safetensors, and beside it the catalogue that names them."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file
from torch import Tensor

from arcformer.disk import unwritable, whole
from arcformer.errors import InputError
from arcformer.training.start import digest_of

if TYPE_CHECKING:
    from arcformer.training import Run

__all__ = ["catalogue_of", "origin", "write_catalogued"]


def write_catalogued(
    out: Path, tensors: dict[str, Tensor], paths: Sequence[Path], notes: Sequence[Sequence[str]], about: Any
) -> Path:
    """Write ``tensors`` to ``out``, and beside it the catalogue: a line ``row,file,notes`` a file.

    Args:
        out: where the safetensors go.
        tensors: by name, each leading with N.
        paths: N files.
        notes: for each of them, in what it is not as in training.
        about: a mapping of names to mappings, which stand in the metadata as JSON.

    Returns:
        Where the catalogue lies.

    Raises:
        InputError: it cannot be written there, or ``out`` is not called as a file of safetensors.
    """
    catalogue = catalogue_of(out)
    with unwritable(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole(out) as path:
            save_file(tensors, path, metadata={name: json.dumps(what) for name, what in about.items()})
        with whole(catalogue) as path, path.open("w", newline="", errors="surrogateescape") as file:
            table = csv.writer(file)
            table.writerow(["row", "file", "notes"])
            rows = enumerate(zip(paths, notes, strict=True))
            table.writerows([row, str(name), "; ".join(lines)] for row, (name, lines) in rows)
    return catalogue


def catalogue_of(out: Path) -> Path:
    """Where the catalogue of what is in ``out`` lies.

    Raises:
        InputError: ``out`` is not called as a file of safetensors.
    """
    if out.suffix != ".safetensors":
        raise InputError(f"--out {out}: expected a name that ends with .safetensors")
    return out.with_suffix(".csv")


def origin(run: Run, part: str = "") -> dict[str, str]:
    """Where numbers come from: the folder of a run, and the SHA-256 of the weights of its task or of a part of it."""
    module = run.task.get_submodule(part)
    return {"run": str(run.folder), "weights": digest_of(module.state_dict())}

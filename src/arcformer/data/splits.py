"""Splits by hash: the part an image belongs to follows from its name and the seed, whatever other images there are."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from arcformer.errors import InputError
from arcformer.randomness import derive

__all__ = ["FRACTIONS", "few_of_each", "load_split", "save_split", "split"]

FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}


def split(names: Sequence[str], fractions: Mapping[str, float] = FRACTIONS, *, seed: int) -> dict[str, list[int]]:
    """Indices of ``names`` for every part. Adding or removing images never moves another one.

    Each name is put on the unit interval by the SHA-256 of (seed, name), and the parts lie on it one after another. So
    a part's share of a finite set scatters about its fraction, by 1 % of the set where that has 1000 images.

    Args:
        names: files relative to their root, with forward slashes, as ``Catalogue.names``.
        fractions: the parts and their shares, summing to one.
        seed: another seed, another split.

    Raises:
        InputError: fractions that are negative or do not sum to one; a name that stands twice.
    """
    if min(fractions.values(), default=-1) < 0 or not math.isclose(sum(fractions.values()), 1, abs_tol=1e-9):
        raise InputError(f"fractions {dict(fractions)}: expected shares of at least 0 that sum to 1")
    if len(set(names)) < len(names):
        raise InputError("a name stands twice in what is to be split")
    order, edges = list(fractions), list(accumulate(fractions.values()))
    parts: dict[str, list[int]] = {part: [] for part in order}
    for row, name in enumerate(names):
        place = derive(seed, "split", name) / 2**63
        part = min(bisect_right(edges, place), len(edges) - 1)  # rounding may leave a gap below one
        parts[order[part]].append(row)
    return parts


def few_of_each(
    names: Sequence[str], labels: Sequence[int], classes: Sequence[str], count: int, *, seed: int
) -> list[int]:
    """Indices of ``count`` of ``names`` for each class, the classes mixed; fewer are always a part of more.

    Which ones and their order follow from the SHA-256 of (seed, name), whatever the other images and their order.

    Args:
        names, labels: of the images, the latter as indices into ``classes``.
        count: images of each class.
        seed: another seed, another choice.

    Raises:
        InputError: images without labels, or a class with fewer than ``count``.
    """
    if len(labels) != len(names):
        raise InputError("data.labels: these images have no labels to choose by")

    def place(row: int) -> int:
        return derive(seed, "labels", names[row])

    kept = []
    for label, name in enumerate(classes):
        rows = [row for row, own in enumerate(labels) if own == label]
        if len(rows) < count:
            raise InputError(
                f"data.labels is {count}, and the training part holds {len(rows)} images of {name}; lower it"
            )
        kept += sorted(rows, key=place)[:count]
    return sorted(kept, key=place)


def save_split(path: str | Path, names: Sequence[str], parts: Mapping[str, Sequence[int]]) -> None:
    """Write the names of every part as JSON.

    Raises:
        InputError: the file is there already with another split.
    """
    path = Path(path)
    text = json.dumps({part: [names[row] for row in rows] for part, rows in parts.items()}, indent=1) + "\n"
    if path.exists() and path.read_text() != text:
        raise InputError(f"{path} holds another split already; remove it or choose another name")
    path.write_text(text)


def load_split(path: str | Path, names: Sequence[str]) -> dict[str, list[int]]:
    """Indices of ``names`` for every part of a stored split; a name that the split does not know is in none.

    Raises:
        InputError: no such file, not a split, or an image of the split that is not among ``names``.
    """
    path = Path(path)
    try:
        stored = json.loads(path.read_text())
        listed = {str(part): [str(name) for name in members] for part, members in stored.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path} cannot be read as a split ({error}); expected JSON of names for every part") from None
    row = {name: i for i, name in enumerate(names)}
    missing = [name for members in listed.values() for name in members if name not in row]
    if missing:
        raise InputError(f"{path}: {len(missing)} images of the split are not there, the first is {missing[0]}")
    return {part: [row[name] for name in members] for part, members in listed.items()}

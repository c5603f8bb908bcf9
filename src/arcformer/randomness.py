"""Random streams without shared state: a stream is a pure function of a seed and of names.

Batch ``k`` of a run draws from ``stream(seed, "train", k)``, its augmentation and its dropout from streams of their
own. So a resumed run, two workers and eight ranks all see the same batch ``k``, and none needs to know of the others.
"""

from __future__ import annotations

import hashlib

import torch

__all__ = ["derive", "stream"]


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called ``names`` under ``seed``; the same on every machine."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator on ``device`` for the stream called ``names`` under ``seed``."""
    return torch.Generator(device).manual_seed(derive(seed, *names))

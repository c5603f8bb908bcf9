"""How a command of the tests ended, and the overrides of a run that takes a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

SMALL = (
    "data.preset=deeplense/model-2", "data.workers=0", "backbone.size=tiny", "backbone.patch=8", "backbone.depth=1",
    "training.steps=4", "training.batch_size=12", 'training.precision="32"', "training.evaluate_every=2",
    "training.log_every=1", "training.accelerator=cpu",
)  # fmt: skip
SIMULATED = (*SMALL, "data.pixels=32", "data.validation=24")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]

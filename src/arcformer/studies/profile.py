"""What a network costs: parameters, multiply-adds, images a second forward and in training, memory.

Each is measured in a process of its own, so that none finds memory that another left or pays for its imports; one that
fails is reported, and the others go on. The training step is forward, backward and AdamW of a classification of three
classes, in float32 and eager: what a network costs before any setting makes it cheaper.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from arcformer.batch import LensBatch
from arcformer.config import options_of
from arcformer.errors import InputError, near
from arcformer.memory import forget_peak, peak, resident
from arcformer.models import BACKBONES, Backbone
from arcformer.tasks import Classify
from arcformer.training.provenance import commit, device_name, versions

__all__ = [
    "UNITS",
    "Failed",
    "Profile",
    "Variant",
    "as_results",
    "measure",
    "measure_apart",
    "multiply_adds",
    "variants",
]

CLASSES = ("no_sub", "cdm", "axion")

ROUNDS, SECONDS = 3, 1.0
"""A rate is the median of at least so many rounds, and of as many as fit into so long; one round goes before."""


@dataclass(frozen=True)
class Variant:
    """A network to be measured.

    Attributes:
        label: as it is listed, ``vit/small`` or ``hf:vit``.
        name: of the backbone.
        options: of its constructor.
    """

    label: str
    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Profile:
    """What a network costs.

    Attributes:
        parameters: their number.
        multiply_adds: of one image, forward: those of matrix products, convolutions and attention.
        forward: images a second, in evaluation.
        training: images a second, forward, backward and a step of AdamW.
        memory: MiB that model, optimiser and training steps add at their peak; None where that cannot be seen.
    """

    parameters: int
    multiply_adds: int
    forward: float
    training: float
    memory: float | None


UNITS = {
    "parameters": "",
    "multiply_adds": "per image",
    "forward": "images/s",
    "training": "images/s",
    "memory": "MiB",
}
"""Of the fields of a ``Profile``."""


@dataclass(frozen=True)
class Failed:
    """Why a network could not be measured."""

    why: str


def variants(names: Sequence[str] = ("*",)) -> list[Variant]:
    """The registered backbones that ``names`` mean, each in all of its sizes, and what they name by import or prefix.

    Args:
        names: names and patterns, with or without a size, as ``vit``, ``vit/small``, ``*/tiny``; or ``hf:swinv2``,
            ``module:Class``.

    Raises:
        InputError: one that means nothing.
    """
    known = [variant for name in BACKBONES for variant in _sizes(name, BACKBONES.get(name))]
    found: dict[str, Variant] = {}
    for text in names:
        if ":" in text:
            found |= {variant.label: variant for variant in _named(text)}
            continue
        meant = [variant for variant in known if fnmatch(variant.name, text) or fnmatch(variant.label, text)]
        if not meant:
            choices = [*BACKBONES, *(variant.label for variant in known if "/" in text)]
            raise InputError(f"no backbone is called {text!r}: {near(text, choices)}")
        found |= {variant.label: variant for variant in meant}
    return list(found.values())


def measure(variant: Variant, *, size: int, channels: int, batch: int, device: str) -> Profile:
    """What a network costs for ``batch`` images of ``channels`` x ``size`` x ``size``, measured in this process.

    Its memory is right in a process that has done nothing else.
    """
    place = torch.device(device)
    torch.manual_seed(0)
    images = torch.randn(batch, channels, size, size, device=place)
    labels = torch.randint(len(CLASSES), (batch,), device=place)
    forget_peak()
    before = resident()
    backbone = BACKBONES.get(variant.name)(size, channels, **variant.options)
    task = Classify(backbone, CLASSES).to(place)
    optimizer = torch.optim.AdamW(task.parameters(), lr=1e-4)

    def forward() -> None:
        with torch.no_grad():
            backbone.features(images)

    def training() -> None:
        task.loss(LensBatch(images, labels=labels, classes=CLASSES))["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()

    task.train()
    train_seconds = seconds(training, place)
    if place.type == "cuda":
        memory = torch.cuda.max_memory_allocated(place) / 2**20
    else:
        most = peak()
        memory = None if most is None or before is None else most - before
    task.eval()
    return Profile(
        sum(parameter.numel() for parameter in backbone.parameters()),
        multiply_adds(backbone, images[:1]),
        batch / seconds(forward, place),
        batch / train_seconds,
        memory,
    )


def measure_apart(variant: Variant, **settings: Any) -> Profile | Failed:
    """The same in a new process, whatever becomes of it; ``settings`` as of ``measure``."""
    try:
        BACKBONES.get(variant.name)  # what is not there needs no process to fail in
    except InputError as error:
        return Failed(str(error))
    request = json.dumps({"variant": asdict(variant), "settings": settings})
    ended = subprocess.run([sys.executable, "-m", __name__, request], capture_output=True, text=True)
    answer = ended.stdout.strip().rpartition("\n")[2]
    if ended.returncode == 0:
        found = json.loads(answer)
        return Failed(found["why"]) if "why" in found else Profile(**found)
    if ended.returncode < 0:
        return Failed(f"its process was killed by signal {-ended.returncode}, as where memory runs out")
    return Failed(ended.stderr.strip().rpartition("\n")[2] or f"its process ended with {ended.returncode}")


def multiply_adds(backbone: Backbone, images: torch.Tensor) -> int:
    """Of matrix products, convolutions and attention, forward; what is done cell by cell is not counted."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        backbone.features(images)  # attention as products: torch counts none in its fused kernels for a CPU
    return counter.get_total_flops() // 2


def seconds(function: Callable[[], None], device: torch.device) -> float:
    """How long a call takes, the median of some after one to warm up."""
    taken: list[float] = []
    while len(taken) <= ROUNDS or sum(taken[1:]) < SECONDS:
        begin = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken[1:])


def as_results(found: dict[str, Profile | Failed], settings: dict[str, Any]) -> dict[str, Any]:
    """Everything that was measured, with where and how: flat rows, as those of the benchmarks, and what failed."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "device": device_name(torch.device(settings["device"])),
        "versions": versions(),
        "commit": commit(),
        "profile": settings,
        "rows": [
            {"name": f"{metric} {label}", "value": value, "unit": UNITS[metric]}
            for label, profile in found.items()
            if isinstance(profile, Profile)
            for metric, value in asdict(profile).items()
            if value is not None
        ],
        "failed": {label: profile.why for label, profile in found.items() if isinstance(profile, Failed)},
    }


def _named(name: str) -> list[Variant]:
    """What an import string or a prefix names, in all its sizes; what cannot be found is kept, to fail in its row."""
    try:
        return list(_sizes(name, BACKBONES.get(name)))
    except InputError:
        return [Variant(name, name)]


def _sizes(name: str, cls: Any) -> Iterator[Variant]:
    """A backbone in each of the sizes that its option ``size`` names, or as it is."""
    size = options_of(cls).model_fields.get("size")
    choices = typing.get_args(size.annotation) if size is not None else ()
    for choice in choices:
        yield Variant(f"{name}/{choice}", name, {"size": choice})
    if not choices:
        yield Variant(name, name)


def _answer(request: str) -> str:
    """What a child process says: a profile, or why there is none."""
    asked = json.loads(request)
    try:
        return json.dumps(asdict(measure(Variant(**asked["variant"]), **asked["settings"])))
    except InputError as error:
        return json.dumps({"why": str(error)})
    except Exception as error:
        return json.dumps({"why": f"{type(error).__name__}: {' '.join(str(error).split())}"})


if __name__ == "__main__":
    sys.stdout.write(_answer(sys.argv[1]) + "\n")

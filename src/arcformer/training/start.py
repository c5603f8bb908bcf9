"""What a run begins with that another run has learned: the weights of its backbone, and the scaling of its images.

The backbone is built for the image size of the run that it comes from, whatever the new one is: every backbone takes
images of other sizes when it is called, and learned positions are interpolated then. Its options must be the same but
for those that act in training alone; task, classes and preset may be others.

The scaling is taken over too, where it can be: a feature answers to numbers, and the same flux should be the same
number to it, even where the images of the new run are fainter. Fitted anew it would be shifted and stretched by
whatever tells the two sets of images apart. Where flux means something else (another unit, another pixel scale, another
kind of scaling, a softening that the user has chosen) there is nothing to be kept, and the new run fits its own.

What was used is written to ``start.json``; the other run is not needed again, neither to resume nor to ``load``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.config import Component, flat, read
from arcformer.data.domain import SLACK
from arcformer.data.transforms import Transform, TransformSection
from arcformer.disk import whole
from arcformer.errors import InputError
from arcformer.models import BACKBONES
from arcformer.training.folder import Run, finished, load
from arcformer.training.recipe import RunConfig

__all__ = ["Start", "check_alike", "check_start", "digest_of", "scaled_alike", "start_of"]

FILE = "start.json"


@dataclass(frozen=True)
class Start:
    """What is kept of where a run began.

    Attributes:
        run: the folder of the other run, as it was given.
        weights: SHA-256 of the weights of its backbone.
        image_size: that its backbone was built for, pixels.
        channels: of its images.
        scaling: ``taken over``, or why it was fitted anew.
    """

    run: str
    weights: str
    image_size: int
    channels: int
    scaling: str = ""

    @classmethod
    def of(cls, run: Run) -> Start:
        """Where ``run`` is what another one begins with."""
        network = run.network
        return cls(str(run.folder), digest_of(run.task.backbone.state_dict()), network.image_size, network.channels)

    def save(self, folder: Path) -> None:
        with whole(folder / FILE) as path:
            path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Start | None:
        """What ``save`` wrote to the folder of a run; None for one that began from nothing."""
        path = folder / FILE
        try:
            return cls(**json.loads(path.read_text())) if path.exists() else None
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path} does not say where the run began ({error})") from None


def start_of(config: RunConfig, folder: Path) -> Run | None:
    """The finished run that ``config.init`` names, None without one; for a run of ``config`` in ``folder``.

    Raises:
        InputError: it is no finished run, its backbone is another one, or its weights are not those that the run in
            ``folder`` began with before it was interrupted.
    """
    if config.init is None:
        return None
    check_start(config)
    try:
        run = load(config.init)
    except InputError as error:
        raise InputError(f"init: {error}") from None
    before = Start.load(folder)
    if before is not None and before.weights != digest_of(run.task.backbone.state_dict()):
        raise InputError(f"init: the weights in {config.init} have changed since {folder} began with them; begin anew")
    return run


def check_start(config: RunConfig) -> None:
    """See that ``config.init``, where it is given, is a finished run with the same backbone; no weights are looked at.

    Raises:
        InputError: it is not.
    """
    if config.init is None:
        return
    if not (config.init / "config.toml").exists():
        raise InputError(f"init: {config.init} is not the folder of a run; expected one that arcformer train has left")
    if not finished(config.init):
        raise InputError(f"init: the run in {config.init} is not finished; resume it first")
    check_alike(read(RunConfig, config.init / "config.toml").backbone, config.backbone, str(config.init))


def check_alike(there: Component, here: Component, run: str) -> None:
    """See that a backbone can begin with the weights of another one, that of ``run``: the same, built alike.

    Raises:
        InputError: naming the options that differ.
    """
    if there.name != here.name:
        raise InputError(
            f"init: the backbone of {run} is {there.name}, here it is {here.name}; set backbone.name={there.name}"
        )
    free = BACKBONES.get(here.name).training_options
    theirs, ours = (flat(component.options) for component in (there, here))
    differing = [name for name in ours if name not in free and theirs.get(name) != ours[name]]
    if differing:
        name = differing[0]
        more = f" (and {', '.join(differing[1:])})" if differing[1:] else ""
        raise InputError(
            f"init: backbone.{name} of {run} is {theirs.get(name)}, here it is {ours[name]}{more}; give it the same"
        )


def scaled_alike(run: Run, section: TransformSection, batches: Sequence[LensBatch]) -> tuple[Transform, str]:
    """The transform of ``section`` with the numbers of ``run`` where flux means the same, and a word on it.

    Args:
        batches: training batches, which the numbers are fitted to where they are not taken over.
    """
    other = _difference(run, section, batches[0])
    if other:
        return Transform(section).fit(batches), f"fitted anew: {other}"
    there = run.transform
    return Transform(section, there.softening, there.offset, there.scale), "taken over"


def _difference(run: Run, section: TransformSection, batch: LensBatch) -> str:
    """In what flux means something else to two runs; empty where it means the same."""
    there = run.transform.section
    if section.scaling != there.scaling:
        return f"scaling is {section.scaling} here and {there.scaling} there"
    if section.softening not in (None, run.transform.softening):
        return f"softening is {section.softening:g} here and {run.transform.softening:g} there"
    if section.scaling == "noise":  # in which unit and pixels cancel
        return ""
    if batch.unit != run.domain.unit:
        return f"the unit is {batch.unit!r} here and {run.domain.unit!r} there"
    ours, theirs = section.pixel_scale, there.pixel_scale
    if ours is None and batch.pixel_scale is not None:
        ours = float(batch.pixel_scale[0])
    if theirs is None and run.domain.pixel_scale is not None:
        theirs = sum(run.domain.pixel_scale) / 2
    if ours and theirs and not 1 / SLACK <= ours / theirs <= SLACK:
        return f"pixels are {ours:.3g} arcsec here and {theirs:.3g} there"
    return ""


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """The SHA-256 of tensors and their names."""
    found = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()

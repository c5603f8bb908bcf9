"""The recipe of a run: everything that a user chooses, as one configuration.

>>> config = read(RunConfig, "runs/demo.toml", ["training.steps=500", "backbone.size=small"])
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from arcformer.config import Component, Section, component
from arcformer.data.augment import Symmetries
from arcformer.data.observed import observed
from arcformer.data.transforms import TransformSection
from arcformer.errors import InputError
from arcformer.models import BACKBONES
from arcformer.models.lora import inject
from arcformer.models.recompute import recompute
from arcformer.sim.presets import PRESETS, Preset
from arcformer.tasks import TASKS, Task

__all__ = ["DataSection", "LoRASection", "RunConfig", "TrainingSection", "build_task"]


def _known_preset(name: str) -> str:
    PRESETS.get(name)
    return name


class DataSection(Section):
    """Where images come from: a preset that is simulated on the fly, or a folder of files.

    ``preset``: what is simulated; for a folder, its classes, their order and aliases, and the pixel scale.
    ``folder``: files to read instead, in the layout of DeepLense, or a store that ``arcformer simulate`` wrote.
    ``pixels``: side of the central part that is rendered; None: the whole image of the preset.
    ``psf``: a FITS file with the PSF, or a set of them, that simulated images are seen through.
    ``sources``, ``lenses``: folders of FITS stamps of galaxies that are lensed, or whose light is the lens's.
    ``validation``: how many images are simulated to validate on. A folder gives a tenth of its files, by hash.
    ``split_seed``: another seed, another split of the folder.
    ``skip_bad``: whether bad files of a folder are left out, and listed, or are an error.
    ``workers``: processes that prepare batches; None: one for two cores, at most eight. Batches do not depend on it.
    """

    preset: Annotated[str, AfterValidator(_known_preset)] = "deeplense/model-1"
    folder: Path | None = None
    pixels: int | None = Field(default=None, ge=1)
    psf: Path | None = None
    sources: Path | None = None
    lenses: Path | None = None
    validation: int = Field(default=1536, ge=1)
    split_seed: int = 0
    skip_bad: bool = False
    workers: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _one_source(self) -> DataSection:
        simulated = [name for name in ("pixels", "psf", "sources", "lenses") if getattr(self, name) is not None]
        if self.folder is not None and simulated:
            raise InputError(
                f"{', '.join(simulated)}: for simulated images; those of a folder are cropped by transform.size"
            )
        return self

    @property
    def simulated(self) -> Preset:
        """The preset as it is to be simulated."""
        return observed(PRESETS.get(self.preset), psf=self.psf, sources=self.sources, lenses=self.lenses)


class LoRASection(Section):
    """Low-rank adaptation of the backbone, in place of training it whole; see ``models/lora.py``.

    ``rank``: of the correction of each matrix; 0: none, the backbone is trained whole.
    ``alpha``: the correction is multiplied by alpha / rank; None: by one.
    ``targets``: shell patterns of names of modules of the backbone, as ``*.attention.*``; those that match are adapted.
    """

    rank: int = Field(default=0, ge=0)
    alpha: float | None = Field(default=None, gt=0)
    targets: tuple[str, ...] = ("*",)

    @model_validator(mode="after")
    def _something_to_scale(self) -> LoRASection:
        if not self.rank and (self.alpha is not None or self.targets != ("*",)):
            raise InputError("alpha and targets are of corrections, and with rank 0 there are none; set rank too")
        return self


class TrainingSection(Section):
    """How long, how fast, on what.

    ``steps``: optimiser steps.
    ``batch_size``: images in a step on each device.
    ``rate``: the learning rate after the warm-up; from there it falls to zero as half a cosine.
    ``optimizer``: ``muon`` for the matrices of the backbone and AdamW for the rest, or ``adamw`` for all.
    ``weight_decay``: of weight matrices and kernels; biases and norms do not decay.
    ``betas``: AdamW's.
    ``warmup``: the share of the steps over which the rate rises linearly.
    ``clip``: greatest norm of the gradient; 0 does not clip.
    ``ema``: decay of the average of the weights, which is what is validated and kept; 0 keeps the weights themselves.
    ``precision``: ``bf16`` for mixed precision, ``32``, or ``auto``: the faster one on this machine, as measured.
    ``evaluate_every``: steps between validations; there is one at the end in any case.
    ``save_every``: steps between resume files.
    ``log_every``: steps between lines of the log.
    ``accelerator``, ``devices``, ``num_nodes``, ``strategy``: as Lightning's Trainer takes them.
    ``compile``: whether the loss is compiled with ``torch.compile``.
    ``recompute``: whether what the blocks compute is computed again in the backward pass, to save memory.
    ``lora``: whether the backbone is trained whole, or is frozen but for corrections of low rank.
    """

    steps: int = Field(default=2000, ge=1)
    batch_size: int = Field(default=64, ge=1)
    rate: float = Field(default=1e-3, gt=0)
    optimizer: Literal["muon", "adamw"] = "muon"
    weight_decay: float = Field(default=0.05, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: float = Field(default=0.05, ge=0, le=1)
    clip: float = Field(default=1.0, ge=0)
    ema: float = Field(default=0.999, ge=0, lt=1)
    precision: Annotated[Literal["auto", "32", "bf16"], BeforeValidator(str)] = "auto"
    evaluate_every: int = Field(default=500, ge=1)
    save_every: int = Field(default=500, ge=1)
    log_every: int = Field(default=50, ge=1)
    accelerator: str = "auto"
    devices: int = Field(default=1, ge=1)
    num_nodes: int = Field(default=1, ge=1)
    strategy: str = "auto"
    compile: bool = False
    recompute: bool = False
    lora: LoRASection = LoRASection()


class RunConfig(Section):
    """A run, whole: the same configuration gives the same run on the same machine."""

    seed: int = 0
    data: DataSection = DataSection()
    transform: TransformSection = TransformSection()
    augment: Symmetries = "half-turn"
    backbone: component(BACKBONES, "vit") = Component(name="vit")  # pyright: ignore[reportInvalidTypeForm]
    task: component(TASKS, "classify") = Component(name="classify")  # pyright: ignore[reportInvalidTypeForm]
    training: TrainingSection = TrainingSection()


def build_task(
    config: RunConfig, classes: Sequence[str], image_size: int, channels: int, *, training: bool = False
) -> Task:
    """The task of a configuration, with its backbone, for square images of ``image_size`` pixels; weights as drawn.

    ``training``: as it is to be trained, with what ``config.training`` makes of the backbone. That is done before the
    task is built, so that what a task copies of the backbone, as a teacher, is alike.
    """
    backbone = BACKBONES.get(config.backbone.name)(image_size, channels, **config.backbone.options)
    if training and config.training.recompute:
        recompute(backbone)
    if training and config.training.lora.rank:  # afterwards: what it adds to a layer would look like parts of a block
        inject(backbone, **config.training.lora.model_dump())
    return TASKS.get(config.task.name)(backbone, tuple(classes), **config.task.options)

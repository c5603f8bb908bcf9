"""The recipe of a run: everything that a user chooses, as one configuration.

>>> config = read(RunConfig, "runs/demo.toml", ["training.steps=500", "backbone.size=small"])
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from arcformer.config import Component, Section, component, listed
from arcformer.data.observed import observed
from arcformer.data.symmetry import Symmetries
from arcformer.data.transforms import TransformSection
from arcformer.errors import InputError
from arcformer.models import BACKBONES
from arcformer.sim.presets import PRESETS, Preset
from arcformer.tasks import TASKS

__all__ = ["DataSection", "LoRASection", "RunConfig", "TrainingSection"]


def _known_preset(name: str) -> str:
    PRESETS.get(name)
    return name


class DataSection(Section):
    """Where images come from: a preset that is simulated on the fly, or a folder of files.

    ``preset``: what is simulated; for a folder, its classes, their order and aliases, and the pixel scale.
    ``folder``: files to read instead, in the layout of DeepLense, or a store that ``arcformer simulate`` wrote.
    ``only``: classes of the preset that the run is about, to train, validate and test on; none named: all of them.
    ``mixed``: a share of the simulated images that is of the other classes, unlabelled, so that it can be measured what
    these do; in training, validation and calibration, never in a test.
    ``pixels``: side of the central part that is rendered; None: the whole image of the preset.
    ``psf``: a FITS file with the PSF, or a set of them, that simulated images are seen through.
    ``sources``, ``lenses``: folders of FITS stamps of galaxies that are lensed, or whose light is the lens's.
    ``count``: how many images are simulated to train on, again and again; None: new ones without end.
    ``labels``: how many labelled images of each class are trained on, of a folder or simulated; None: all that come.
    ``subset_seed``: which images these are; None: those of the run's seed. They do not depend on the batch size, and
    fewer are a part of more. They are made once and held in memory.
    ``validation``: how many images are simulated to validate on. A folder gives a tenth of its files, by hash.
    ``calibration``: how many are simulated for a task that is calibrated on images of its own; of a folder these are
    half of the files for validation.
    ``fitting``: how many training images are gone through once more by a task that fits something to them at the end.
    ``pairs``: where a task that learns of images at a finer resolution has these from. ``given``: from the simulator,
    which gives the noise-free sky before the PSF, or from a folder with ``LR`` and ``HR`` in it, files joined by their
    number. ``binned``: the images are the finer ones, and their sums over blocks of pixels are what the network sees.
    ``split_seed``: another seed, another split of the folder.
    ``skip_bad``: whether bad files of a folder are left out, and listed, or are an error.
    ``workers``: processes that prepare batches; None: one for two cores, at most eight. Batches do not depend on it.
    """

    preset: Annotated[str, AfterValidator(_known_preset)] = "deeplense/model-1"
    folder: Path | None = None
    only: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()
    mixed: float = Field(default=0.0, ge=0, lt=1)
    pixels: int | None = Field(default=None, ge=1)
    psf: Path | None = None
    sources: Path | None = None
    lenses: Path | None = None
    count: int | None = Field(default=None, ge=1)
    labels: int | None = Field(default=None, ge=1)
    subset_seed: int | None = None
    validation: int = Field(default=1536, ge=1)
    calibration: int = Field(default=2000, ge=1)
    fitting: int = Field(default=4096, ge=1)
    pairs: Literal["given", "binned"] = "given"
    split_seed: int = 0
    skip_bad: bool = False
    workers: int | None = Field(default=None, ge=0)

    @field_validator("only")
    @classmethod
    def _classes_of_the_preset(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "preset" in info.data:  # else that is the fault
            PRESETS.get(info.data["preset"]).of_classes(names)
        return names

    @model_validator(mode="after")
    def _one_source(self) -> DataSection:
        names = ("pixels", "psf", "sources", "lenses", "count")
        simulated = [name for name in names if getattr(self, name) is not None]
        if self.folder is not None and simulated:
            raise InputError(
                f"{', '.join(simulated)}: for simulated images; those of a folder are cropped by transform.size and "
                "are as many as there are, or data.labels of each class"
            )
        return self

    @model_validator(mode="after")
    def _enough_of_each(self) -> DataSection:
        classes = self.classes
        if self.count is not None and self.labels is not None and self.count < self.labels * len(classes):
            raise InputError(
                f"count is {self.count}, which does not hold labels = {self.labels} images of each of {len(classes)} "
                "classes; lower labels, or raise count or leave it out"
            )
        if self.subset_seed is not None and not self.fixed:
            raise InputError("subset_seed chooses the images of count or labels; set one of these too")
        return self

    @model_validator(mode="after")
    def _others_to_mix(self) -> DataSection:
        if self.mixed and (self.folder is not None or self.classes == PRESETS.get(self.preset).classes):
            raise InputError(
                "mixed: simulated images of the classes that only leaves out stand among the others; set only, and no "
                "folder"
            )
        return self

    @property
    def fixed(self) -> bool:
        """Whether training goes over the same images again and again, few enough to be held in memory."""
        return self.count is not None or self.labels is not None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the run is about, in the order of the preset and of their labels."""
        return PRESETS.get(self.preset).of_classes(self.only).classes

    @property
    def simulated(self) -> Preset:
        """The preset as it is to be simulated."""
        whole = PRESETS.get(self.preset)
        preset = whole.mixed(self.only, self.mixed) if self.mixed else whole.of_classes(self.only)
        return observed(preset, psf=self.psf, sources=self.sources, lenses=self.lenses)


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

    ``steps``: optimiser steps; 0 for a task that has nothing to train.
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
    ``layer_decay``: the rate of each block of the backbone is this times that of the block above it, the stem's the
    lowest; head and whatever else is above the backbone learn at ``rate``. 1: all at the same rate.
    ``freeze``: whether the backbone stays as it is, and what is above it is trained alone.
    ``lora``: whether the backbone is trained whole, or is frozen but for corrections of low rank.
    """

    steps: int = Field(default=2000, ge=0)
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
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    freeze: bool = False
    lora: LoRASection = LoRASection()

    @model_validator(mode="after")
    def _one_way(self) -> TrainingSection:
        asked = {"lora": self.lora.rank > 0, "layer_decay": self.layer_decay < 1, "recompute": self.recompute}
        moving = [name for name, is_asked in asked.items() if is_asked]
        if self.freeze and moving:
            raise InputError(f"freeze: of a frozen backbone nothing is trained, so that {moving[0]} has no meaning")
        return self


class RunConfig(Section):
    """A run, whole: the same configuration gives the same run on the same machine.

    ``init``: the folder of a finished run whose backbone this one begins with (``training/start.py``).
    """

    seed: int = 0
    init: Path | None = None
    data: DataSection = DataSection()
    transform: TransformSection = TransformSection()
    augment: Symmetries = "half-turn"
    backbone: component(BACKBONES, "vit") = Component(name="vit")  # pyright: ignore[reportInvalidTypeForm]
    task: component(TASKS, "classify") = Component(name="classify")  # pyright: ignore[reportInvalidTypeForm]
    training: TrainingSection = TrainingSection()

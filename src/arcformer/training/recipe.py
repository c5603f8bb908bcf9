"""The recipe of a run: everything that a user chooses, as one configuration.

>>> config = read(RunConfig, "runs/demo.toml", ["training.steps=500", "backbone.size=small"])
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from torch import Tensor

from arcformer.config import Component, Section, component, listed, options_of
from arcformer.data.deeplense import has_pairs
from arcformer.data.observed import observed
from arcformer.data.symmetry import Symmetries
from arcformer.data.transforms import TransformSection
from arcformer.errors import InputError, near
from arcformer.models import BACKBONES, Backbone
from arcformer.models.depth import depths
from arcformer.models.lora import inject
from arcformer.models.recompute import recompute
from arcformer.sim.presets import PRESETS, Preset
from arcformer.tasks import TASKS, Task

__all__ = ["DataSection", "LoRASection", "RunConfig", "TrainingSection", "build_task", "check_steps", "check_trainable"]


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


def build_task(
    config: RunConfig,
    classes: Sequence[str],
    image_size: int,
    channels: int,
    *,
    training: bool = False,
    weights: Mapping[str, Tensor] | None = None,
) -> Task:
    """The task of a configuration, with its backbone, for square images of ``image_size`` pixels.

    Args:
        classes: names of the classes.
        training: as it is to be trained, with what ``config.training`` makes of the backbone. That is done before the
            task is built, so that what a task copies of the backbone, as a teacher, is alike.
        weights: that the backbone begins with; None: as drawn.
    """
    backbone = BACKBONES.get(config.backbone.name)(image_size, channels, **config.backbone.options)
    if weights is not None:
        backbone.load_state_dict(weights)
    if training:
        _made_trainable(backbone, config.training)
    return TASKS.get(config.task.name)(backbone, tuple(classes), **config.task.options)


def check_trainable(config: RunConfig) -> None:
    """See that training can make of the backbone what it is to, before anything is read, simulated or trained.

    The task is built without memory, for images of one channel, on which its blocks and matrices do not depend. One
    with a network of another library is so only where something is to be made of it.

    Raises:
        InputError: what the backbone or the task raises of its options, a task that cannot do with this backbone or
            these images, or that learns other targets than the preset has, corrections of a rank that is too high or
            that match nothing, a backbone without blocks.
    """
    training = config.training
    truth_wanted(config)
    check_targets(config)
    check_pairs(config)
    if ":" in config.backbone.name and not (training.lora.rank or training.recompute or training.layer_decay < 1):
        return
    try:
        with torch.device("meta"):
            task = build_task(config, config.data.classes, config.transform.size or 64, 1, training=True)
    except (NotImplementedError, RuntimeError):  # one that cannot be built without memory is looked at when it is
        return
    check_steps(task, training)
    if training.layer_decay < 1:
        depths(task.backbone)


def check_steps(task: Task, training: TrainingSection) -> None:
    """See that ``task`` takes steps if it can, and none where it has nothing to train.

    Raises:
        InputError: it is otherwise.
    """
    if task.learns() and not training.steps:
        raise InputError(f"training.steps is 0, and {_called(task)} has to be trained; give it some")
    if training.steps and not task.learns():
        cause = "leave training.freeze out, or set" if training.freeze else "set"
        raise InputError(f"nothing of {_called(task)} is left to train: {cause} training.steps=0")


def _called(task: Task) -> str:
    return f"task {type(task).__name__.lower()}"


def targets_wanted(config: RunConfig) -> tuple[str, ...]:
    """The targets that the task is to learn, as its option ``targets`` names them; none where it has no such option."""
    return tuple(config.task.options.get("targets", ()))


def check_targets(config: RunConfig) -> None:
    """See that the images have the targets of a task that learns some; each file is looked into when it is read.

    The only place where that is asked: of the configuration, for the task may not be built before there are images.

    Raises:
        InputError: none is named; a simulated one that the preset does not draw, or not for every class of the run.
    """
    if "targets" not in options_of(TASKS.get(config.task.name)).model_fields:
        return
    preset, wanted = config.data.simulated, targets_wanted(config)
    if not wanted:
        raise InputError(
            f"{config.task.name}: name what is to be estimated in task.targets; images of {preset.name} have "
            f"{', '.join(preset.targets) or 'none'}"
        )
    if config.data.folder is not None:
        return
    for name in wanted:
        if name not in preset.targets:
            raise InputError(f"task.targets: {preset.name} has no {name!r}; {near(name, preset.targets)}")
        known = preset.classes_with(name)
        if known != preset.classes:
            lacking = [other for other in preset.classes if other not in known]
            raise InputError(
                f"task.targets: lenses of {', '.join(lacking)} have no {name}; set data.only to "
                f"{json.dumps(list(known))}"
            )


def factor_wanted(config: RunConfig) -> int | None:
    """By how much the images that the task learns of are finer, as its option ``factor`` says; None without one."""
    return config.task.options.get("factor")


def check_pairs(config: RunConfig) -> None:
    """See that the images come in pairs of two resolutions for a task that learns of these, and that fluxes add up.

    Raises:
        InputError: they cannot; or pairs are asked for where the task has no use for them.
    """
    data, name = config.data, config.task.name
    if factor_wanted(config) is None:
        if data.pairs == "binned":
            raise InputError(f"data.pairs: task {name} learns of no pairs; leave it out, or take task superres")
        return
    if config.transform.scaling not in ("linear", "none"):
        raise InputError(
            f"{name}: pixels under a coarser one add up to its flux, which transform.scaling = "
            f"'{config.transform.scaling}' would not leave so; set it to linear"
        )
    if data.folder is None or data.pairs == "binned":
        return
    if not has_pairs(data.folder):
        raise InputError(
            f"{data.folder} holds no pairs, in sub-folders LR and HR; to bin its images and learn to undo that, set "
            "data.pairs to binned"
        )
    if data.labels is not None or data.only:
        raise InputError("data.labels and data.only choose by class, and files in LR and HR have none; leave them out")


def truth_wanted(config: RunConfig) -> bool:
    """Whether simulated batches are to hold what only a simulator knows, as ``Task.truth`` says.

    Raises:
        InputError: a task that needs what these images do not hold.
    """
    name = config.task.name
    wanted = getattr(TASKS.get(name), "truth", "none")
    if wanted == "needed" and config.data.folder is not None:
        raise InputError(
            f"task {name} learns what only a simulator knows of an image, and {config.data.folder} does not hold it; "
            "leave data.folder out, or take another task"
        )
    return wanted != "none"


def calibrated_apart(config: RunConfig) -> bool:
    """Whether the task is calibrated on images that are held out from validation too."""
    return getattr(TASKS.get(config.task.name), "calibrates_on", "validation") == "held-out"


def tested_on_all(config: RunConfig) -> bool:
    """Whether a test shows the task all classes of the preset, those too that it was not trained on."""
    return getattr(TASKS.get(config.task.name), "tested_on", "own") == "all"


def drawn_wanted(config: RunConfig) -> bool:
    """Whether all that was drawn is to be in batches too, and not the noise alone."""
    return getattr(TASKS.get(config.task.name), "truth", "none") in ("useful", "needed")


def _made_trainable(backbone: Backbone, training: TrainingSection) -> None:
    if training.freeze:
        backbone.requires_grad_(False)
    if training.recompute:
        recompute(backbone)
    if training.lora.rank:  # afterwards: what it adds to a layer would look like parts of a block
        inject(backbone, **training.lora.model_dump())

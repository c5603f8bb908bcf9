"""From a recipe to the task that it describes, with what training makes of its backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from arcformer.errors import InputError
from arcformer.models import BACKBONES, Backbone
from arcformer.models.depth import depths
from arcformer.models.lora import inject
from arcformer.models.recompute import recompute
from arcformer.tasks import TASKS, Task
from arcformer.tasks.anomaly import STATISTICS
from arcformer.training.recipe import RunConfig, TrainingSection
from arcformer.training.wants import check_normal, check_pairs, check_targets, truth_wanted

__all__ = ["build_task", "check_steps", "check_trainable"]


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
    check_normal(config)
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
    """The task by name, with the statistic that says what there is to train, where it has one."""
    named = f"task {type(task).__name__.lower()}"
    statistic = getattr(task, "statistic", None)
    if statistic is None:
        return named
    known = (name for name in STATISTICS.names() if STATISTICS.get(name) is type(statistic))
    return f"statistic {next(known, type(statistic).__name__)} of {named}"


def _made_trainable(backbone: Backbone, training: TrainingSection) -> None:
    if training.freeze:
        backbone.requires_grad_(False)
    if training.recompute:
        recompute(backbone)
    if training.lora.rank:  # afterwards: what it adds to a layer would look like parts of a block
        inject(backbone, **training.lora.model_dump())

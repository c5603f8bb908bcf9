"""What the task of a recipe asks of its images, and whether they have it.

It is asked of the configuration, once, when a run is planned: a task may not be built before there are images.
"""

from __future__ import annotations

import json

from arcformer.config import options_of
from arcformer.data.deeplense import has_pairs
from arcformer.errors import InputError, near
from arcformer.tasks import TASKS
from arcformer.training.recipe import RunConfig

__all__ = [
    "calibrated_apart",
    "check_normal",
    "check_pairs",
    "check_targets",
    "drawn_wanted",
    "factor_wanted",
    "targets_wanted",
    "tested_on_all",
    "truth_wanted",
]


def check_normal(config: RunConfig) -> None:
    """See that a task that is tested on all classes is told which of them it is to be trained on.

    Raises:
        InputError: it would be trained on every class of the preset.
    """
    data = config.data
    if not tested_on_all(config) or data.only or data.folder is not None or len(data.classes) < 2:
        return
    raise InputError(
        f"task {config.task.name} takes all that it is trained on for normal, and {data.simulated.name} has "
        f"{', '.join(data.classes)}; name the normal ones in data.only, as data.only={data.classes[0]}"
    )


def targets_wanted(config: RunConfig) -> tuple[str, ...]:
    """The targets that the task is to learn, as its option ``targets`` names them; none where it has no such option."""
    return tuple(config.task.options.get("targets", ()))


def check_targets(config: RunConfig) -> None:
    """See that the images have the targets of a task that learns some; each file is looked into when it is read.

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


def drawn_wanted(config: RunConfig) -> bool:
    """Whether all that was drawn is to be in batches too, and not the noise alone."""
    return getattr(TASKS.get(config.task.name), "truth", "none") in ("useful", "needed")


def calibrated_apart(config: RunConfig) -> bool:
    """Whether the task is calibrated on images that are held out from validation too."""
    return getattr(TASKS.get(config.task.name), "calibrates_on", "validation") == "held-out"


def tested_on_all(config: RunConfig) -> bool:
    """Whether a test shows the task all classes of the preset, those too that it was not trained on."""
    return getattr(TASKS.get(config.task.name), "tested_on", "own") == "all"

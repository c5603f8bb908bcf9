"""The run folder: what a finished run leaves behind, and ``load``, which gives it back without a pickle.

``config.toml``, ``model.safetensors``, ``transform.json``, ``domain.json``, ``metrics.json``, ``log.jsonl``; for files
from a folder ``split.json``, and ``skipped.txt`` where some were bad; ``start.json`` of a run that began with the
weights of another. ``metrics.json`` is written last: where it is, the run is finished.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model

from arcformer.config import read
from arcformer.data.domain import Domain
from arcformer.data.transforms import Transform
from arcformer.disk import whole
from arcformer.errors import InputError, nearest
from arcformer.tasks import Task
from arcformer.training.build import build_task
from arcformer.training.recipe import RunConfig

__all__ = ["Network", "Run", "finished", "load", "save_weights"]


@dataclass(frozen=True)
class Network:
    """What has to be known beside the configuration to build the network again; kept in the file of its weights."""

    image_size: int
    channels: int
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where it lies.
        config: its configuration.
        task: with the weights that were best in validation, in eval mode, on the CPU.
        transform: from physical units to what the task takes.
        domain: what its training images were like.
        classes: in the order of the labels.
        metrics: what ``metrics.json`` holds.
        network: what its network was built for.
    """

    folder: Path
    config: RunConfig
    task: Task
    transform: Transform
    domain: Domain
    classes: tuple[str, ...]
    metrics: dict[str, Any]
    network: Network


def load(folder: str | Path) -> Run:
    """The run in ``folder``.

    >>> run = arcformer.load("demo/run")
    >>> prediction = run.task.predict(run.transform(batch))

    Raises:
        InputError: no such folder, a run that is not finished, or a file of it that is missing or damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected that of a run")
    if not (folder / "config.toml").exists():
        raise InputError(f"{folder} is not the folder of a run: it holds no config.toml")
    if not finished(folder):
        raise InputError(f"the run in {folder} is not finished: it holds no metrics.json; resume it")
    config = read(RunConfig, folder / "config.toml")
    task, network = _load_task(config, folder / "model.safetensors")
    return Run(
        folder=folder,
        config=config,
        task=task,
        transform=Transform.load(folder / "transform.json"),
        domain=Domain.load(folder / "domain.json"),
        classes=network.classes,
        metrics=_load_metrics(folder / "metrics.json"),
        network=network,
    )


def finished(folder: Path) -> bool:
    """Whether the run in ``folder`` has come to its end."""
    return (folder / "metrics.json").exists()


def save_weights(task: Task, network: Network, path: Path) -> None:
    """Write the weights and buffers of ``task`` as safetensors, with ``network`` in its metadata."""
    with whole(path) as unfinished:
        save_model(task, str(unfinished), metadata={"network": json.dumps(asdict(network))})


def _load_task(config: RunConfig, path: Path) -> tuple[Task, Network]:
    try:
        with safe_open(path, "pt") as file:
            stored = json.loads((file.metadata() or {})["network"])
        network = Network(stored["image_size"], stored["channels"], tuple(stored.get("classes", ())))
        task = build_task(config, network.classes, network.image_size, network.channels)
        _fill(task, path)
    except InputError:
        raise
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} holds no weights of a run ({error})") from None
    return task.eval(), network


def _fill(task: Task, path: Path) -> None:
    """Give ``task`` the weights of a file, all of them, or say in a line in what they differ."""
    try:
        load_model(task, path)
        return
    except RuntimeError:  # torch names every tensor
        with safe_open(path, "pt") as file:
            there = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    here = {name: tuple(tensor.shape) for name, tensor in task.state_dict().items()}
    missing, left = ([name for name in a if name not in b] for a, b in ((here, there), (there, here)))
    other = [name for name in here if name in there and there[name] != here[name]]
    parts = []
    if other:
        shapes = f"{there[other[0]]} there and {here[other[0]]} in the network"
        parts.append(f"{len(other)} have another shape, as {other[0]}, {shapes}")
    if missing:
        close = nearest(missing[0], left)
        parts.append(f"{len(missing)} are missing, as {missing[0]}" + (f"; {close} is there" if close else ""))
    if left:
        parts.append(f"{len(left)} have no place, as {left[0]}")
    raise InputError(
        f"{path} does not hold the weights of the network in config.toml: of {len(here)} tensors {', '.join(parts)}"
    )


def _load_metrics(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} holds no metrics ({error})") from None

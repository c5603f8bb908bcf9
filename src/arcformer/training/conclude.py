"""The end of a run: the best weights, calibrated and measured on the whole validation set, and facts beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import torch
from torchmetrics import Metric

from arcformer.batch import LensBatch
from arcformer.data.fixed import Held
from arcformer.disk import whole
from arcformer.models.lora import merge
from arcformer.tasks import Task
from arcformer.training.folder import Network, save_weights
from arcformer.training.journal import Journal, plain
from arcformer.training.module import TrainedTask
from arcformer.training.pipeline import Pipeline
from arcformer.training.provenance import commit, device_name, versions
from arcformer.training.start import Start

__all__ = ["conclude"]


def conclude(module: TrainedTask, pipeline: Pipeline, journal: Journal) -> None:
    """Write ``model.safetensors`` and then ``metrics.json``, which marks the run as finished.

    The metrics are those of the weights as ``load`` gives them back, calibrated and in full precision; corrections of
    low rank are merged into them, so that whoever loads them needs to know of none.
    """
    config, trainer = module.config, module.trainer
    trained = sum(parameter.numel() for parameter in module.task.parameters() if parameter.requires_grad)
    device = trainer.strategy.root_device
    task = module.kept.to(device).eval()
    if config.training.steps:
        task.load_state_dict(module.best.weights)
    merge(task)
    fit_and_calibrate(task, pipeline, device)
    metrics = measured(task, (pipeline.validation[k].to(device) for k in range(pipeline.validation_batches)), device)
    sample = pipeline.sample
    source = pipeline.train.source
    others = getattr(source.source if isinstance(source, Held) else source, "others", {})
    network = Network(module.image_size, sample.images.shape[1], source.classes)
    save_weights(task.cpu(), network, pipeline.folder / "model.safetensors")
    facts = {
        "validation": plain(metrics),
        "best_step": module.best.step,
        "monitor": module.best.metric,
        "seed": config.seed,
        "split_seed": config.data.split_seed,
        **({"start": asdict(start)} if (start := Start.load(pipeline.folder)) else {}),
        **({"images_of_other_classes": dict(others)} if others else {}),
        **({"training_images": len(source)} if isinstance(source, Held) else {}),
        **journal.cost,
        "parameters": sum(parameter.numel() for parameter in task.parameters()),
        "parameters_trained": trained,
        "device": device_name(device),
        "processes": trainer.world_size,
        "precision": module.precision,
        "versions": versions(),
        "commit": commit(),
    }
    with whole(pipeline.folder / "metrics.json") as path:
        path.write_text(json.dumps(facts, indent=2) + "\n")


@torch.no_grad()
def fit_and_calibrate(task: Task, pipeline: Pipeline, device: torch.device) -> None:
    """Let ``task`` fit what is not trained to training images, and calibrate it on others."""
    if type(task).fit is not Task.fit:
        task.fit(pipeline.fitting(device))
    if type(task).calibrate is not Task.calibrate:  # predictions may be as large as images
        kept = [task.remembered(task.predict(batch), batch) for batch in pipeline.calibration(device)]
        task.calibrate([prediction for prediction, _ in kept], [batch for _, batch in kept])


@torch.no_grad()
def measured(task: Task, batches: Iterable[LensBatch], device: torch.device) -> dict[str, Any]:
    """The metrics of ``task`` on ``batches``."""
    metrics = task.metrics().to(device)
    for metric in metrics.modules():
        if isinstance(metric, Metric):
            metric.distributed_available_fn = lambda: False  # this process alone sees the whole set
    for batch in batches:
        metrics.update(task.predict(batch), batch)
    return metrics.compute()

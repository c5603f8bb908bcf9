"""The contract of a task as a callable: for the tests of this library, and for anybody's own class.

>>> from arcformer.tasks import Classify
>>> check_task(Classify, label_smoothing=0.1)
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from arcformer.batch import LensBatch
from arcformer.models import VisionTransformer
from arcformer.models.check import check_gradients, check_round_trip, hold, require
from arcformer.tasks.base import Prediction, Task

__all__ = ["check_task"]

SIDE = 16
CLASSES = ("no_sub", "cdm", "axion")


def check_task(cls: Callable[..., Task], **options: Any) -> None:
    """Check that ``cls(backbone, classes, **options)`` keeps the contract of ``Task``, on a small transformer.

    The batches hold every field that a ``LensBatch`` has, random. Takes seconds, runs on the CPU and leaves the global
    random state as it was.

    Raises:
        arcformer.models.check.BrokenContract: naming the clause.
    """

    def make() -> Task:
        task = cls(VisionTransformer(SIDE, 1, dim=16, depth=1, heads=2, patch=4), CLASSES, **options)
        with torch.random.fork_rng(devices=[]):
            task.prepare([example_batch(images) for images in (24, 12)])
        return task

    hold(getattr(cls, "__name__", repr(cls)), CLAUSES, make)


def example_batch(images: int = 6) -> LensBatch:
    """Random images whose brightness tells their class, with everything that may be known about images."""
    labels = torch.arange(images) % len(CLASSES)
    pixels = torch.randn(images, 1, SIDE, SIDE) + labels.view(-1, 1, 1, 1)
    return LensBatch(
        images=pixels,
        labels=labels,
        classes=CLASSES,
        targets=torch.randn(images, 2),
        target_names=("theta_E_arcsec", "log10_axion_mass_eV"),
        high_res=pixels.repeat_interleave(2, 2).repeat_interleave(2, 3),
        psf=torch.full((images, 3, 3), 1 / 9),
        noise_std=torch.ones_like(pixels),
        mask=torch.zeros_like(pixels, dtype=torch.bool),
        pixel_scale=torch.full((images,), 0.05),
        context=torch.randn(images, 3),
        ids=tuple(f"example/{i}" for i in range(images)),
        extras={"clean": pixels - 0.1, **{name: torch.randn(images).double() for name in ("theta_E", "source_x")}},
    )


def loss_is_scalar(make: Callable[[], Task]) -> None:
    """loss gives finite scalars, "loss" among them, also for one image and in training mode."""
    task = make()
    for mode in (True, False):
        for images in (6, 1):
            parts = task.train(mode).loss(example_batch(images))
            require("loss" in parts, f"the parts are {sorted(parts)}")
            for name, part in parts.items():
                require(part.ndim == 0, f"{name} has shape {tuple(part.shape)}")
                require(bool(part.isfinite()), f"{name} is {part.item()} for {images} image(s)")


def loss_trains_every_parameter(make: Callable[[], Task]) -> None:
    """Gradients of the loss reach every parameter that is not frozen."""
    task, batch = make(), example_batch()
    if not task.learns():
        return
    for parameter in task.frozen_parameters():
        parameter.requires_grad_(False)
    check_gradients(task, lambda copied: copied.loss(batch)["loss"])


def loss_can_be_lowered(make: Callable[[], Task]) -> None:
    """Thirty steps of AdamW on one batch lower the loss, where there is something to learn."""
    task, batch = make().train(), example_batch()
    if not task.learns():
        return
    for parameter in task.frozen_parameters():
        parameter.requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=3e-3)
    losses: list[float] = []
    for step in range(1, 31):
        loss = task.loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        task.after_step(step)
        losses.append(loss.item())
    first, last = sum(losses[:5]), sum(losses[-5:])
    require(last < first, f"it went from {first / 5:.4g} to {last / 5:.4g}, in means of five")


def loss_follows_the_seed(make: Callable[[], Task]) -> None:
    """The same batch under the same torch seed gives the same loss, in training mode."""
    task, batch = make().train(), example_batch()
    values = []
    for _ in range(2):
        torch.manual_seed(1)
        values.append(copy.deepcopy(task).loss(batch)["loss"].item())
    require(values[0] == values[1], f"it gave {values[0]} and {values[1]}")


def prediction_is_tensors(make: Callable[[], Task]) -> None:
    """predict gives a Prediction, tensors that lead with B, each finite or, where a task cannot tell, NaN all over."""
    task = make().eval()
    for images in (6, 1):
        prediction = _predict(task, example_batch(images))
        require(isinstance(prediction, Prediction) and is_dataclass(prediction), f"it gives {type(prediction)}")
        require(len(fields(prediction)) > 0, "the prediction has no fields")
        for name, tensor in _tensors(prediction).items():
            require(isinstance(tensor, Tensor), f"{name} is a {type(tensor).__name__}")
            require(tensor.shape[:1] == (images,), f"{name} has shape {tuple(tensor.shape)} for {images} image(s)")
            told = tensor.isfinite().all() or tensor.isnan().all()  # not a number anywhere: the task does not know
            require(bool(told), f"{name} is not finite")


def prediction_is_deterministic(make: Callable[[], Task]) -> None:
    """In evaluation the same batch gives the same prediction, and the batch is left as it was."""
    task, batch = make().eval(), example_batch()
    before = batch.images.clone()
    _require_equal(_predict(task, batch), _predict(task, batch))
    require(torch.equal(batch.images, before), "the images were changed")


def prediction_ignores_truth(make: Callable[[], Task]) -> None:
    """predict does not look at truth: without labels, targets, high_res and extras it says the same."""
    task, batch = make().eval(), example_batch()
    blind = replace(batch, labels=None, targets=None, target_names=(), high_res=None, extras={})
    _require_equal(_predict(task, batch), _predict(task, blind))


def metrics_are_of_the_whole_set(make: Callable[[], Task]) -> None:
    """metrics is a fresh torchmetrics collection; its finite scalars, over two batches, are those over both as one."""
    task, batch = make().eval(), example_batch(12)
    require(isinstance(task.metrics(), MetricCollection), f"it is a {type(task.metrics()).__name__}")
    with torch.no_grad():
        for parameter in task.parameters():  # a fresh task may say the same of every image
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    apart, together = task.metrics(), task.metrics()
    for rows in (slice(0, 2), slice(2, 12)):
        apart.update(_predict(task, batch[rows]), batch[rows])
    together.update(_predict(task, batch), batch)
    values = together.compute()
    for name, value in apart.compute().items():
        require(value.ndim == 0, f"{name} has shape {tuple(value.shape)}")
        require(bool(value.isfinite()), f"{name} is {value.item()}")
        same = torch.allclose(value, values[name], atol=1e-4, rtol=1e-3)
        require(same, f"{name} is {value.item():.6g} over two batches and {values[name].item():.6g} over one")


def monitor_is_a_metric(make: Callable[[], Task]) -> None:
    """monitor names one of the metrics, and "max" or "min"."""
    task, batch = make().eval(), example_batch()
    metrics = task.metrics()
    metrics.update(_predict(task, batch), batch)
    name, direction = task.monitor
    require(name in metrics.compute(), f"it is {name!r}, the metrics are {sorted(metrics.compute())}")
    require(direction in ("max", "min"), f"its direction is {direction!r}")


def prepare_fits_buffers(make: Callable[[], Task]) -> None:
    """prepare changes buffers alone, and the same images give the same."""
    task, batches = make(), [example_batch(12), example_batch(6)]
    weights = {name: parameter.clone() for name, parameter in task.named_parameters()}
    states = []
    for _ in range(2):
        task.prepare(batches)
        states.append({name: buffer.clone() for name, buffer in task.named_buffers()})
    for name, parameter in task.named_parameters():
        require(torch.equal(parameter, weights[name]), f"{name} was changed")
    for name, buffer in states[0].items():
        require(torch.equal(buffer, states[1][name]), f"{name} differs from call to call")


def survives_saving(make: Callable[[], Task]) -> None:
    """Prepared, fitted, calibrated, saved as safetensors and loaded into a fresh task, it predicts the same."""
    trained, fresh, batch = make().eval(), make().eval(), example_batch()
    trained.fit([example_batch(24), example_batch(12)])
    trained.calibrate([_predict(trained, batch)], [batch])
    check_round_trip(trained, fresh)
    _require_equal(_predict(trained, batch), _predict(fresh, batch))


CLAUSES: list[Callable[..., None]] = [
    loss_is_scalar,
    loss_trains_every_parameter,
    loss_can_be_lowered,
    loss_follows_the_seed,
    prediction_is_tensors,
    prediction_is_deterministic,
    prediction_ignores_truth,
    metrics_are_of_the_whole_set,
    monitor_is_a_metric,
    prepare_fits_buffers,
    survives_saving,
]


@torch.no_grad()
def _predict(task: Task, batch: LensBatch) -> Prediction:
    return task.predict(batch)


def _tensors(prediction: Prediction) -> dict[str, Tensor]:
    return {f.name: getattr(prediction, f.name) for f in fields(prediction)}


def _require_equal(first: Prediction, second: Prediction) -> None:
    for name, tensor in _tensors(first).items():
        other = getattr(second, name)
        same = torch.equal(tensor, other) or bool(tensor.isnan().all() and other.isnan().all())
        require(same, f"{name} differs by up to {(1.0 * tensor - 1.0 * other).abs().max():.2g}")

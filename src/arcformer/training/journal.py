"""``log.jsonl``: a line for every logged step and every validation; and what the run has cost so far."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.training.schedule import rate_factor

__all__ = ["Journal", "plain"]


class Journal(Callback):
    """Writes the log of a run and counts its images and seconds, over all the processes that it was resumed in.

    Attributes:
        images: seen in training so far, by all ranks.
        seconds: since the start of training, validation included.
        validating, waiting: the seconds of it that went into validation, and that were spent waiting for batches.
    """

    def __init__(self, path: Path):
        self.path = path
        self.images, self.seconds, self.validating, self.waiting = 0, 0.0, 0.0, 0.0
        self._waited_before = 0.0

    @property
    def cost(self) -> dict[str, float]:
        """The numbers of the run's bill: images seen and per second of training, share of it spent waiting."""
        training = max(self.seconds - self.validating, 1e-9)
        return {
            "images_seen": self.images,
            "images_per_second": round(self.images / training, 2),
            "waiting_for_data": round(self.waiting / training, 4),
            "seconds": round(self.seconds, 2),
            "seconds_of_validation": round(self.validating, 2),
        }

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._waited_before = self.waiting
        self._last = time.perf_counter()
        self._logged = (self.images, self.seconds - self.validating)
        if trainer.is_global_zero:
            forget_after(self.path, trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: LensBatch, batch_idx: int
    ) -> None:
        step, training = trainer.global_step, pl_module.config.training
        self.images += len(batch) * trainer.world_size
        if step % training.log_every and step != training.steps:
            return
        self._tick()
        self.waiting = self._waited_before + pl_module.pipeline.timed.seconds
        values = {name: float(part) for name, part in pl_module.last.items()}
        if not math.isfinite(values["loss"]):
            raise InputError(f"the loss is {values['loss']} at step {step}: training has diverged; lower training.rate")
        images, seconds = self._logged
        self._logged = (self.images, self.seconds - self.validating)
        rate = training.rate * rate_factor(step - 1, training.steps, training.warmup)
        speed = (self.images - images) / max(self._logged[1] - seconds, 1e-9)
        self._write(trainer, {"step": step, **values, "rate": rate, "images_per_second": round(speed, 1)})

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tick()
        self._validation_began = self.seconds

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._tick()
        self.validating += self.seconds - self._validation_began
        self._write(trainer, {"step": trainer.global_step, "validation": plain(pl_module.validated)})

    def state_dict(self) -> dict[str, Any]:
        self._tick()
        names = ("images", "seconds", "validating", "waiting")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, value in state_dict.items():
            setattr(self, name, value)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.seconds += now - self._last
        self._last = now

    def _write(self, trainer: Trainer, line: dict[str, Any]) -> None:
        if trainer.is_global_zero:
            with self.path.open("a") as file:
                file.write(json.dumps(plain(line | {"seconds": round(self.seconds, 2)})) + "\n")


def forget_after(path: Path, step: int) -> None:
    """Drop the lines of the log at ``path`` that come after ``step``, and one that was cut off in writing."""
    kept = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except ValueError:
            break
    path.write_text("".join(kept))


def plain(value: Any) -> Any:
    """Tensors and containers of them as what JSON has; numbers that are not finite as None."""
    if isinstance(value, Tensor):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""The bar of a run: how far, how fast, how long still, how good."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from arcformer.training.journal import Journal

__all__ = ["Bar"]


class Bar(Callback):
    """One bar over the steps of a run, resumed steps included."""

    def __init__(self, console: Console, journal: Journal):
        self.journal = journal
        self.progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[loss]}  {task.fields[best]}"),
            console=console,
            disable=console.quiet,
        )

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        steps = pl_module.config.training.steps
        self.row = self.progress.add_task(
            "training", total=steps, completed=trainer.global_step, speed="", loss="", best=""
        )
        self.progress.start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.progress.update(self.row, completed=trainer.global_step)
        if trainer.global_step % pl_module.config.training.log_every == 0:
            speed = f"{self.journal.cost['images_per_second']:.0f} images/s"
            self.progress.update(self.row, speed=speed, loss=f"loss {float(pl_module.last['loss']):.3f}")

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        best = pl_module.best
        self.progress.update(self.row, best=f"best {best.metric} {best.value:.4f}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.progress.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.progress.stop()

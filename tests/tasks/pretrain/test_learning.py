"""On a small budget every objective learns: its loss falls, and features tell more than those of a random network.

What they are asked for, where the source lies, only ``physics`` was trained on: its quadrant, or for objectives that
are to be blind to symmetries its distance from the centre.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from arcformer.batch import LensBatch
from arcformer.data.simulated import SimulatedBatches
from arcformer.data.transforms import Transform, TransformSection
from arcformer.models import VisionTransformer
from arcformer.tasks import TASKS
from arcformer.training.optimizer import optimizer
from arcformer.training.recipe import TrainingSection
from arcformer.training.schedule import rate_factor

TRAINING = TrainingSection(steps=150, rate=2e-3, warmup=0.1)


def batches(split: str, size: int, count: int) -> list[LensBatch]:
    drawn = {"batch_size": size, "seed": 0, "split": split, "pixels": 96, "truth": True}
    source = SimulatedBatches("deeplense/model-1", **drawn)
    return [source.batch(k) for k in range(count)]


def asked(batch: LensBatch, blind: bool) -> LensBatch:
    x, y = batch.extras["source_x"], batch.extras["source_y"]
    radius = torch.hypot(x, y)
    labels = (radius > 0.2).long() + (radius > 0.32).long() if blind else (x > 0).long() + 2 * (y > 0).long()
    names = ("near", "middle", "far") if blind else ("a", "b", "c", "d")
    return replace(batch, labels=labels, classes=names, targets=None, target_names=())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mae", "simmim", "jepa", "dino", "simclr", "physics"])
def test_the_loss_falls_and_features_become_better(name: str) -> None:
    blind = name in ("dino", "simclr")
    train, validation = batches("train", 64, 30), batches("validation", 240, 3)
    transform = Transform(TransformSection(size=24, pixel_scale=0.2)).fit(train[:1])
    train, validation = ([asked(transform(batch), blind) for batch in part] for part in (train, validation))
    torch.manual_seed(0)
    backbone = VisionTransformer(24, 1, dim=64, depth=2, heads=4, patch=4, stem="patch")
    task = TASKS.get(name)(backbone, validation[0].classes)
    task.prepare(train[:8])

    @torch.no_grad()
    def measured() -> dict[str, float]:
        metrics = task.eval().metrics()
        for batch in validation:
            metrics.update(task.predict(batch), batch)
        task.train()
        return {key: float(value) for key, value in metrics.compute().items()}

    before = measured()
    moving = optimizer(task, TRAINING)
    schedule = LambdaLR(moving, lambda step: rate_factor(step, TRAINING.steps, TRAINING.warmup))
    for step in range(1, TRAINING.steps + 1):
        torch.manual_seed(step)
        loss = task.loss(train[step % 30])["loss"]
        moving.zero_grad()
        loss.backward()
        moving.step()
        schedule.step()
        task.after_step(step)
    after = measured()
    assert after["loss"] < 0.8 * before["loss"]
    assert after["probe_auroc"] > before["probe_auroc"] + 0.002
    task.judge(after)

"""On a small budget every head learns where the source is, and says how well it knows."""

from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from arcformer.batch import LensBatch
from arcformer.data.augment import dihedral
from arcformer.data.simulated import SimulatedBatches
from arcformer.data.transforms import Transform, TransformSection
from arcformer.metrics import coverage
from arcformer.models import VisionTransformer
from arcformer.randomness import stream
from arcformer.tasks import Regress
from arcformer.tasks.regress import HEADS
from arcformer.training.optimizer import optimizer
from arcformer.training.recipe import TrainingSection
from arcformer.training.schedule import rate_factor

TRAINING = TrainingSection(steps=300, rate=2e-3, warmup=0.1)
TARGETS = ("source_x", "source_y")

Parts = dict[str, list[LensBatch]]


@pytest.fixture(scope="module")
def parts() -> Parts:
    def batches(split: str, size: int, count: int) -> list[LensBatch]:
        source = SimulatedBatches("deeplense/model-1", batch_size=size, seed=0, split=split, pixels=96)
        return [source.batch(k) for k in range(count)]

    made = {
        "train": batches("train", 64, 30),
        "validation": batches("validation", 240, 2),
        "test": batches("t", 240, 2),
    }
    transform = Transform(TransformSection(size=24, pixel_scale=0.2)).fit(made["train"][:2])
    return {name: [transform(batch) for batch in part] for name, part in made.items()}


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_the_source_is_found_far_better_than_the_prior_knows(head: str, parts: Parts) -> None:
    torch.manual_seed(0)
    backbone = VisionTransformer(24, 1, dim=64, depth=2, heads=4, patch=4, stem="patch")
    task = Regress(backbone, (), targets=TARGETS, head=head)
    task.prepare(parts["train"][:8])
    moving = optimizer(task, TRAINING)
    schedule = LambdaLR(moving, lambda step: rate_factor(step, TRAINING.steps, TRAINING.warmup))
    for step in range(1, TRAINING.steps + 1):
        torch.manual_seed(step)
        loss = task.loss(dihedral(parts["train"][step % 30], stream(0, step)))["loss"]
        moving.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        moving.step()
        schedule.step()
    task.eval()
    with torch.no_grad():
        task.calibrate([task.predict(batch) for batch in parts["validation"]], parts["validation"])
        test = LensBatch.collate(parts["test"])
        metrics, made = task.metrics(), task.predict(test)
        metrics.update(made, test)
    values = {name: float(value) for name, value in metrics.compute().items()}
    prior = -float(task.standard.log_volume()) - 2 * 1.4189  # mean log density of a Gaussian as wide as the prior
    assert values["nll"] < -prior - 1.5
    for name in TARGETS:
        assert values[f"r2/{name}"] > 0.7
    covered = coverage(made.samples, task.truth_of(test))
    assert abs(covered - [[0.5], [0.68], [0.9], [0.95]]).max() < 0.12

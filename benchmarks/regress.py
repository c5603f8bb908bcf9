"""What posteriors cost: samples of many images, and a training step with a flow beside one with a point estimate.

    python benchmarks/regress.py --json regress.json [--device cuda] [--precision bf16]

Of the first, a minute is what 10,000 samples for 1,000 images may take on two cores, the network included. Of the
second a fifth: steps (forward, backward and AdamW) of the same backbone with either head alternate, and medians are
compared, so that a busy machine slows both. Flows are moved away from their beginning, where they do nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from rows import Row, emit

from arcformer.batch import LensBatch
from arcformer.models import VisionTransformer
from arcformer.tasks import Regress
from arcformer.training.precision import autocast

SIDE = 64
TARGETS = ("theta_E", "source_x", "source_y")


def task_of(head: str, device: str) -> Regress:
    """A regression of three targets by ViT-tiny, patches of 8 pixels."""
    torch.manual_seed(0)
    task = Regress(VisionTransformer(SIDE, 1, size="tiny", patch=8), (), targets=TARGETS, head=head)  # pyright: ignore
    with torch.no_grad():
        for parameter in task.head.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return task.to(device)


def lenses(count: int, device: str) -> LensBatch:
    return LensBatch(
        torch.randn(count, 1, SIDE, SIDE, device=device),
        targets=torch.randn(count, len(TARGETS), device=device),
        target_names=TARGETS,
    )


def timed(device: str, function: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    begin = time.perf_counter()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


@torch.no_grad()
def sampling(chosen: argparse.Namespace) -> Iterator[Row]:
    """Seconds for the samples of all images, a batch at a time, of each head."""
    batch = lenses(min(chosen.batch, chosen.images), chosen.device)
    for head in ("gaussian", "flow"):
        task = task_of(head, chosen.device).eval()
        task.posterior(batch[:2], chosen.samples)
        seconds = 0.0
        for first in range(0, chosen.images, len(batch)):
            some = batch[: chosen.images - first]
            seconds += timed(chosen.device, lambda t=task, some=some: t.posterior(some, chosen.samples))
        name = f"posterior_seconds {chosen.images} images x {chosen.samples} samples x {len(TARGETS)} targets {head}"
        yield Row(f"{name} {chosen.device}", seconds, "s")


def training(chosen: argparse.Namespace) -> Iterator[Row]:
    """A step with each head beside one with a point estimate, median milliseconds; two of each go before."""
    batch = lenses(chosen.batch, chosen.device)
    steps = {head: step_of(task_of(head, chosen.device), batch, chosen) for head in ("point", "gaussian", "flow")}
    taken: dict[str, list[float]] = {head: [] for head in steps}
    for _ in range(2 + chosen.rounds):
        for head, step in steps.items():
            taken[head].append(1e3 * timed(chosen.device, step))
    medians = {head: statistics.median(times[2:]) for head, times in taken.items()}
    for head in ("gaussian", "flow"):
        name = f"step_ms vit-tiny {SIDE}x{SIDE} batch {chosen.batch} {head} {chosen.precision} {chosen.device}"
        yield Row.beside(name, medians[head], "ms", "point estimate", medians["point"], "lower")


def step_of(task: Regress, batch: LensBatch, chosen: argparse.Namespace) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(task.train().parameters(), lr=1e-5)

    def step() -> None:
        with autocast(chosen.precision, batch.images.device):
            loss = task.loss(batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    parser.add_argument("--images", type=int, default=1000, help="images to be sampled (default 1000)")
    parser.add_argument("--samples", type=int, default=10_000, help="of each (default 10000)")
    parser.add_argument("--batch", type=int, default=64, help="images at a time (default 64)")
    parser.add_argument("--rounds", type=int, default=15, help="steps of each, after two to warm up (default 15)")
    parser.add_argument("--precision", choices=["32", "bf16"], default="32", help="of training (default 32)")
    parser.add_argument("--device", default="cpu", help="default cpu")
    chosen = parser.parse_args()
    emit([*sampling(chosen), *training(chosen)], chosen.json)


if __name__ == "__main__":
    main()

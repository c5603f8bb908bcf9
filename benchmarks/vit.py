"""How fast the vision transformer trains, against transformers' ViTForImageClassification of the same shape.

    python benchmarks/vit.py --json vit.json

Three layers of three heads, hidden size 768, perceptrons of 1024, patch 16, images of 150 x 150 pixels, one channel,
three classes, float32: the configuration of a published lens classifier. Both ignore the six pixels that hold no
patch, both take the same batches, loss and optimiser, and their steps alternate, so that a busy machine slows both.
Nine tenths of either is the same matrix products: expect a ratio near one, and forty steps to tell it from noise.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import transformers
from rows import Row, emit
from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.batch import LensBatch
from arcformer.models import VisionTransformer
from arcformer.tasks import Classify

SIDE, CLASSES = 150, ("no_sub", "cdm", "axion")


def ours(device: str) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor]]:
    """Our model, and its loss from images and labels."""
    backbone = VisionTransformer(SIDE, 1, size="classifier-3x3", uneven="crop")
    task = Classify(backbone, CLASSES).to(device)
    return task, lambda images, labels: task.loss(LensBatch(images, labels=labels, classes=CLASSES))["loss"]


def theirs(device: str) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor]]:
    """The peer, likewise."""
    config = transformers.ViTConfig(
        image_size=SIDE, num_channels=1, patch_size=16, num_hidden_layers=3, num_attention_heads=3, hidden_size=768,
        intermediate_size=1024, num_labels=len(CLASSES),
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config).to(device)
    return model, lambda images, labels: F.cross_entropy(model(pixel_values=images).logits, labels)


def step_of(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], None]:
    """One training step: forward, backward, AdamW."""
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4)

    def step(images: Tensor, labels: Tensor) -> None:
        loss(images, labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def seconds(step: Callable[[Tensor, Tensor], None], images: Tensor, labels: Tensor) -> float:
    """How long one step takes."""
    begin = time.perf_counter()
    step(images, labels)
    if images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    parser.add_argument("--batch", type=int, default=16, help="images per step (default 16)")
    parser.add_argument("--steps", type=int, default=40, help="steps of each, after two to warm up (default 40)")
    parser.add_argument("--device", default="cpu", help="default cpu")
    chosen = parser.parse_args()

    torch.manual_seed(0)
    images = torch.randn(chosen.batch, 1, SIDE, SIDE, device=chosen.device)
    labels = torch.randint(len(CLASSES), (chosen.batch,), device=chosen.device)
    steps = {"ours": step_of(*ours(chosen.device)), "theirs": step_of(*theirs(chosen.device))}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(chosen.steps + 2):
        for name, step in steps.items():
            times[name].append(seconds(step, images, labels))
    rate = {name: chosen.batch / statistics.median(taken[2:]) for name, taken in times.items()}
    peer = f"transformers {transformers.__version__}"
    name = f"train_images_per_s vit-3x3-768 {SIDE}x{SIDE}"
    emit([Row.beside(name, rate["ours"], "images/s", peer, rate["theirs"], "higher")], chosen.json)


if __name__ == "__main__":
    main()

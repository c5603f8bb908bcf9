"""How much faster a masked autoencoder trains its encoder than one that is shown the whole image.

    python benchmarks/pretrain.py --json pretrain.json [--device cuda] [--precision bf16]

A step is forward, backward and AdamW, of `mae` with three quarters of the cells hidden. Its peer is the same encoder,
given all tokens, with the same loss of the same pixels by one linear map: what an autoencoder costs that masks nothing,
without a decoder. Steps of the two alternate and medians are compared, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatch

import torch
from rows import Row, emit
from torch import Tensor, nn

from arcformer.batch import LensBatch
from arcformer.models import PixelHead, VisionTransformer
from arcformer.tasks.pretrain import MAE
from arcformer.tasks.pretrain.misfit import misfit
from arcformer.training.precision import autocast

CASES: dict[str, tuple[int, dict]] = {
    "vit-tiny 64x64": (64, {"size": "tiny", "stem": "patch"}),
    "vit-small 64x64": (64, {"size": "small", "stem": "patch"}),
    "vit-small conv 64x64": (64, {"size": "small", "stem": "conv"}),
    "vit-base 128x128": (128, {"size": "base", "stem": "patch"}),
}


class Unmasked(nn.Module):
    """The encoder on the whole image, and the same loss."""

    def __init__(self, backbone: VisionTransformer):
        super().__init__()
        self.backbone, self.head = backbone, PixelHead(backbone.dim, backbone.channels, backbone.stride)

    def loss(self, batch: LensBatch) -> dict[str, Tensor]:
        found = self.head(self.backbone.features(batch.images), *batch.images.shape[-2:])
        return {"loss": misfit(found, batch.images, batch, "chi2").mean()}


def step_of(model: MAE | Unmasked, precision: str) -> Callable[[LensBatch], None]:
    """One training step."""
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4)

    def step(batch: LensBatch) -> None:
        with autocast(precision, batch.images.device):
            loss = model.loss(batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def rates(case: str, chosen: argparse.Namespace) -> tuple[float, float]:
    """Images a second of the masked autoencoder and of its peer, in their median steps; two of each go before."""
    side, options = CASES[case]
    torch.manual_seed(0)
    images = torch.randn(chosen.batch, 1, side, side, device=chosen.device)
    batch = LensBatch(images, noise_std=torch.ones_like(images))
    backbones = [VisionTransformer(side, 1, **options) for _ in range(2)]
    steps = [
        step_of(model.to(chosen.device), chosen.precision)
        for model in (MAE(backbones[0], (), ratio=0.75), Unmasked(backbones[1]))
    ]
    taken: list[list[float]] = [[], []]
    for _ in range(2 + chosen.rounds):
        for times, step in zip(taken, steps, strict=True):
            begin = time.perf_counter()
            step(batch)
            if images.is_cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - begin)
    masked, whole = (chosen.batch / statistics.median(times[2:]) for times in taken)
    return masked, whole


def compared(chosen: argparse.Namespace) -> Iterator[Row]:
    """A row for each case."""
    for case in CASES:
        if fnmatch(case, chosen.models):
            masked, whole = rates(case, chosen)
            name = f"train_images_per_s mae 75% {case} {chosen.precision} {chosen.device}"
            yield Row.beside(name, masked, "images/s", "the same encoder unmasked", whole, "higher")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    parser.add_argument("--models", default="*", help=f"a shell pattern for {', '.join(CASES)} (default all)")
    parser.add_argument("--batch", type=int, default=64, help="images per step (default 64)")
    parser.add_argument("--rounds", type=int, default=15, help="steps of each, after two to warm up (default 15)")
    parser.add_argument("--precision", choices=["32", "bf16"], default="32", help="default 32")
    parser.add_argument("--device", default="cpu", help="default cpu")
    chosen = parser.parse_args()
    rows = list(compared(chosen))
    if not rows:
        parser.error(f"--models {chosen.models}: expected a pattern for {', '.join(CASES)}")
    emit(rows, chosen.json)


if __name__ == "__main__":
    main()

"""How fast super-resolution is: training beside transformers' Swin2SR of the same size, and one image made finer.

    python benchmarks/superres.py --json superres.json [--cases tiny] [--device cuda] [--steps 10]

A step is forward, the mean absolute error, backward and AdamW, in float32, of images of 75 x 75 pixels made twice as
fine, 8 at a time. Width, depths, heads, windows and perceptrons are the same on both sides, and so is the end: one
convolution and a shuffle of pixels. Theirs has its norms before the first group too; the parameters are counted below.
Steps of the two alternate and medians are compared. On a CPU they are of the processor's time, in one thread, which
what else runs there hardly changes.

``image_ms`` is the median time of ``predict``, image and uncertainty, for one image of that size, with the default
network and the others; ``process`` is the processor's time for it on a CPU.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch
import transformers
from rows import Row, emit
from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.batch import LensBatch
from arcformer.models import BACKBONES, FineHead, SwinIR
from arcformer.models.swinir import SIZES, Size
from arcformer.tasks import SuperRes
from arcformer.training.provenance import device_name

SIDE, FACTOR, BATCH = 75, 2, 8

CASES = ("tiny", "light")

NETWORKS = {
    "swinir/tiny": ("swinir", {"size": "tiny"}),
    "swinir/tiny with channel attention": ("swinir", {"size": "tiny", "channel_attention": True}),
    "rcan/tiny": ("rcan", {"size": "tiny"}),
    "vit/tiny": ("vit", {"size": "tiny"}),
}

PEER = f"transformers {transformers.__version__} Swin2SR"


class Ours(nn.Module):
    """A backbone and the shuffle of pixels alone, as the peer has them."""

    def __init__(self, size: str):
        super().__init__()
        self.backbone = SwinIR(SIDE, 1, size=size)  # type: ignore[arg-type]
        self.head = FineHead([(self.backbone.dim, 1)], 1, 1, FACTOR)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone.features(images), images)


class Theirs(nn.Module):
    def __init__(self, size: Size):
        super().__init__()
        config = transformers.Swin2SRConfig(
            image_size=SIDE, num_channels=1, embed_dim=size.dim, depths=size.depths,
            num_heads=[size.heads] * len(size.depths), window_size=size.window, mlp_ratio=size.mlp_ratio,
            drop_path_rate=0.0, upscale=FACTOR, upsampler="pixelshuffledirect",
        )  # fmt: skip
        self.network = transformers.Swin2SRForImageSuperResolution(config)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).reconstruction


def training(size: str, device: torch.device, steps: int) -> Iterator[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    models = (Ours(size).to(device).train(), Theirs(SIZES[size]).to(device).train())
    images, fine = (torch.rand(BATCH, 1, side, side, device=device) for side in (SIDE, FACTOR * SIDE))
    times: tuple[list[float], list[float]] = ([], [])
    taken = [step_of(model) for model in models]
    for k in range(steps + 2):
        for step, seconds in zip(taken, times, strict=True):
            before, busy = time.process_time(), timed(lambda step=step: step(images, fine), device)
            seconds.append(busy if device.type == "cuda" else time.process_time() - before)
            if k < 2:
                seconds.clear()  # to warm up
    torch.set_num_threads(threads)
    ours, theirs = (BATCH / statistics.median(seconds) for seconds in times)
    yield Row.beside(f"train_images_per_s swinir/{size} {SIDE}x{SIDE}", ours, "images/s", PEER, theirs, "higher")
    ours, theirs = (sum(p.numel() for p in model.parameters()) for model in models)
    yield Row.beside(f"parameters swinir/{size}", ours, "", PEER, theirs, "lower")


def step_of(model: nn.Module) -> Callable[[Tensor, Tensor], None]:
    """One training step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step(images: Tensor, fine: Tensor) -> None:
        F.l1_loss(model(images), fine).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


@torch.no_grad()
def latency(name: str, device: torch.device, repeats: int) -> Iterator[Row]:
    backbone, options = NETWORKS[name]
    task = SuperRes(BACKBONES.get(backbone)(SIDE, 1, **options), (), factor=FACTOR).to(device).eval()
    batch = LensBatch(torch.rand(1, 1, SIDE, SIDE, device=device))
    walls, processes = [], []
    for _ in range(repeats + 2):
        before = time.process_time()
        walls.append(timed(lambda: task.predict(batch), device))
        processes.append(time.process_time() - before)
    yield Row(f"image_ms {name} {SIDE}x{SIDE}", 1e3 * statistics.median(walls[2:]), "ms")
    if device.type == "cpu":
        yield Row(f"image_ms process {name} {SIDE}x{SIDE}", 1e3 * statistics.median(processes[2:]), "ms")


def timed(function: Callable[[], object], device: torch.device) -> float:
    """Seconds."""
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=CASES, help="sizes that are trained")
    parser.add_argument("--steps", type=int, default=10)
    given = parser.parse_args()
    device = torch.device(given.device)
    torch.manual_seed(0)
    rows = [row for size in given.cases for row in training(size, device, given.steps)]
    rows += [row for name in NETWORKS for row in latency(name, device, 3 * given.steps)]
    emit(rows, given.json, {"device": device_name(device), "seed": 0})


if __name__ == "__main__":
    main()

"""How fast statistics of anomaly score images: seconds for 10,000 of 64 x 64 pixels, a batch at a time.

    python benchmarks/anomaly.py --json anomaly.json [--images 1000] [--statistic reconstruction masked] [--device cuda]

Two minutes on two cores are what the default may take. Every statistic of the registry is fitted to a few images first;
the images are made beforehand and are all in memory. ``scoring_seconds STATISTIC``; where fewer ``--images`` are scored
than 10,000, the seconds are those for 10,000 at the same rate, and ``scored`` says how many were. ``memory STATISTIC``:
the size of all that it saves with the weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import torch
from rows import Row, emit

from arcformer.batch import LensBatch
from arcformer.config import Component
from arcformer.data.transforms import Transform, TransformSection
from arcformer.models import VisionTransformer
from arcformer.sim.render import simulate
from arcformer.tasks import Detect
from arcformer.tasks.anomaly import STATISTICS
from arcformer.training.provenance import device_name

PRESET, SIDE, WHOLE = "deeplense/model-2", 64, 10_000


@torch.no_grad()
def scoring(name: str, images: list[LensBatch], fitted_to: list[LensBatch], device: str) -> Iterator[Row]:
    """Seconds for the scores of all images, and what the statistic keeps."""
    torch.manual_seed(0)
    backbone = VisionTransformer(SIDE, 1, size="tiny", patch=8)
    task = Detect(backbone, ("no_sub",), statistic=Component(name=name)).to(device).eval()
    task.prepare(fitted_to)
    fitted_to = [batch.to(device) for batch in fitted_to]
    task.fit(fitted_to)
    task.calibrate([task.predict(batch) for batch in fitted_to], fitted_to)
    task.predict(images[0].to(device))
    begin = time.perf_counter()
    for batch in images:
        task.predict(batch.to(device)).score.cpu()
    seconds, count = time.perf_counter() - begin, sum(map(len, images))
    about = f"{name} vit-tiny {SIDE}x{SIDE} batch {len(images[0])}"
    yield Row(f"scoring_seconds {about}", seconds * WHOLE / count, f"s for {WHOLE} images")
    yield Row(f"scored {about}", count, "images")
    kept = sum(tensor.numel() * tensor.element_size() for tensor in task.statistic.state_dict().values())
    yield Row(f"memory {about}", kept / 2**20, "MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    parser.add_argument("--images", type=int, default=WHOLE, help="how many are scored (default 10000)")
    parser.add_argument("--batch", type=int, default=64, help="images at a time (default 64)")
    parser.add_argument("--statistic", nargs="+", default=STATISTICS.names(), help="default: all")
    parser.add_argument("--device", default="cpu", help="default cpu")
    chosen = parser.parse_args()
    made = [
        simulate(PRESET, labels=["no_sub"] * chosen.batch, seed=k, names=("anomaly",))
        for k in range(min(8, -(-chosen.images // chosen.batch)))
    ]
    transform = Transform(TransformSection()).fit(made)
    seen = [transform(batch) for batch in made]
    batches = [seen[k % len(seen)] for k in range(-(-chosen.images // chosen.batch))]
    rows = [row for name in chosen.statistic for row in scoring(name, batches, seen, chosen.device)]
    emit(rows, chosen.json, {"device": device_name(torch.device(chosen.device)), "threads": torch.get_num_threads()})


if __name__ == "__main__":
    main()

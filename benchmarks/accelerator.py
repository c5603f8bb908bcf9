"""The simulator on an accelerator: whether its images are those of a CPU, and how many a second it makes.

    python benchmarks/accelerator.py [--device cuda] [--presets 'deeplense/model-[12]'] [--json accelerator.json]

``image_difference PRESET``: noise-free, the largest difference over the peak, of compiled images on the accelerator
from eager ones on the CPU. ``images_per_s PRESET CLASS clean``: noise-free images of lenses that have been drawn.
``noisy``: whole batches as training takes them, parameters drawn anew; ``all``: of all classes. ``first_images``: how
long the first took, which compiles. Rates are of the median round, by the clock.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from rows import Row, emit

from arcformer.sim.presets import PRESETS, Preset
from arcformer.sim.render import clean_images, draw, simulate


def difference(preset: Preset, device: str) -> list[Row]:
    drawn = draw(preset, torch.arange(len(preset.classes)).repeat(4), 0)
    there = clean_images(preset, drawn, compiled=False)
    begin = time.perf_counter()
    here = clean_images(preset, drawn, device=device).cpu()
    taken = time.perf_counter() - begin
    worst = ((here - there).abs().amax((1, 2, 3)) / there.amax((1, 2, 3))).max()
    return [
        Row(f"image_difference {preset.name}", float(worst), "of the peak"),
        Row(f"first_images {preset.name}", taken, "s"),
    ]


def rate(images: int, make: Callable[[int], object], rounds: int) -> float:
    """Images a second, in the median round, after one that does not count."""
    taken = []
    for k in range(rounds + 1):
        begin = time.perf_counter()
        make(k)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begin)
    return images / statistics.median(taken[1:])


def rates(preset: Preset, batch: int, rounds: int, device: str) -> list[Row]:
    found = {"all noisy": rate(batch, lambda k: simulate(preset, batch, seed=k, device=device), rounds)}
    for name in preset.classes:
        labels = [name] * batch
        drawn = {key: p.cpu() for key, p in simulate(preset, seed=0, labels=labels, device=device).extras.items()}
        found[f"{name} clean"] = rate(batch, lambda _, d=drawn: clean_images(preset, d, device=device), rounds)
        found[f"{name} noisy"] = rate(
            batch, lambda k, names=labels: simulate(preset, seed=k, labels=names, device=device), rounds
        )
    return [Row(f"images_per_s {preset.name} {what} {device}", value, "images/s") for what, value in found.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    parser.add_argument("--device", default="cuda", help="default cuda")
    parser.add_argument("--presets", default="deeplense/model-[12]", help="a shell pattern")
    parser.add_argument("--batch", type=int, default=1536, help="images in a batch (default 1536)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, after one to warm up (default 5)")
    chosen = parser.parse_args()
    rows: list[Row] = []
    for name in PRESETS.names(chosen.presets):
        preset = PRESETS.get(name)
        for some in (difference(preset, chosen.device), rates(preset, chosen.batch, chosen.rounds, chosen.device)):
            rows += some
            for row in some:
                print(f"{row.name}: {row.value:.5g} {row.unit}", flush=True)
    emit(rows, chosen.json)


if __name__ == "__main__":
    main()

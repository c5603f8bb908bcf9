"""Whether a GPU makes the images that a CPU makes: noise-free, by preset and class, compiled and not.

    python benchmarks/gpu_check.py [--device cuda] [--json check.json]

``image_difference PRESET``: the largest difference over the peak, and how long the first images took, which compiles.
"""

from __future__ import annotations

import argparse
import time

import torch
from rows import Row, emit

from arcformer.sim.presets import PRESETS
from arcformer.sim.render import clean_images, draw, simulate

PER_CLASS = 4


def differences(name: str, device: str) -> list[Row]:
    """The rows of one preset."""
    preset = PRESETS.get(name)
    drawn = draw(preset, torch.arange(len(preset.classes)).repeat(PER_CLASS), 0)
    there = clean_images(preset, drawn, compiled=False)
    rows = []
    for compiled in (False, True):
        begin = time.perf_counter()
        here = clean_images(preset, drawn, device=device, compiled=compiled).cpu()
        kind = "compiled" if compiled else "eager"
        worst = ((here - there).abs().amax((1, 2, 3)) / there.amax((1, 2, 3))).max()
        rows.append(Row(f"image_difference {name} {kind}", float(worst), "of the peak"))
        rows.append(Row(f"first_images {name} {kind}", time.perf_counter() - begin, "s"))
    simulate(preset, 4, seed=0, device=device, truth=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    parser.add_argument("--device", default="cuda", help="default cuda")
    parser.add_argument("--presets", default="*-1", help="a shell pattern (default *-1)")
    chosen = parser.parse_args()
    rows = []
    for name in PRESETS.names(chosen.presets):
        rows += differences(name, chosen.device)
    emit(rows, chosen.json)


if __name__ == "__main__":
    main()

"""How fast lenses are simulated on one core, against lenstronomy and against the classes of caustics.

    python benchmarks/simulate.py --json simulate.json

``images_per_s PRESET CLASS clean``: noise-free images of lenses that have been drawn. ``noisy``: what the preset
writes; ours are whole batches as training takes them, parameters drawn anew, which is not counted for lenstronomy.
That makes each image from new model objects and adds the noise, as DeepLenseSim does. In rows that end in ``kept`` it
makes all images with one image model, as it can where classes do not alternate. In rows that end in ``classes`` the
peer is caustics' class API, mapped over a batch by ``torch.vmap``.

``compile_s`` is what compiling takes once in a process where nothing is stored from an earlier one; it is not in the
rates. ``peak_memory`` (on Linux) is that of a process that simulates and does nothing else.

Rates count the processor's time, not the clock's, and all take turns, so that other programs disturb them little.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import caustics
import lenstronomy
import torch
from caustics_classes import simulator
from oracle import ORACLES
from oracle import rows as one_by_one
from rows import Row, emit
from threadpoolctl import threadpool_limits

from arcformer.sim.presets import PRESETS, Preset
from arcformer.sim.render import clean_images, draw, simulate

LENSTRONOMY, CAUSTICS = f"lenstronomy {lenstronomy.__version__}", f"caustics {caustics.__version__} classes"

ALONE = r"""
import pathlib, re, sys, torch
from arcformer.sim.render import simulate
torch.set_num_threads(1)
for seed in range(8):
    simulate(sys.argv[1], int(sys.argv[2]), seed=seed)
print(int(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) / 1024)
"""

Contestants = dict[str, tuple[int, Callable[[], object]]]


def contestants(preset: Preset, name: str, batch: int, peer_batch: int) -> Contestants:
    """Who makes images of one class: by name how many at a time, and how."""
    oracle, seeds = ORACLES[preset.name], itertools.count()
    labels = torch.full((batch,), preset.classes.index(name))
    drawn = draw(preset, labels, 0)
    few = {key: values[:peer_batch] for key, values in drawn.items()}
    lenses = [(oracle.keywords(row), row) for row in one_by_one(few)]
    kept = oracle.image_model(lenses[0][0].profiles)
    classes = simulator(preset, int(drawn["point_count"][0]))
    return {
        "clean": (batch, lambda: clean_images(preset, drawn)),
        "noisy": (batch, lambda: simulate(preset, seed=next(seeds), labels=labels)),
        "clean peer": (peer_batch, lambda: [oracle.image(words) for words, _ in lenses]),
        "noisy peer": (peer_batch, lambda: [oracle.observed(oracle.image(words), row) for words, row in lenses]),
        "kept": (peer_batch, lambda: [kept.image(words.lens, words.source) for words, _ in lenses]),
        "classes": (peer_batch, lambda: classes(few)),
    }


def rates(entered: Contestants, rounds: int) -> dict[str, float]:
    """Images a second of each, in its median round; all take turns, once before it counts."""
    taken: dict[str, list[float]] = {who: [] for who in entered}
    for _ in range(rounds + 1):
        for who, (count, make) in entered.items():
            begin = time.process_time()
            make()
            taken[who].append((time.process_time() - begin) / count)
    return {who: 1 / statistics.median(times[1:]) for who, times in taken.items()}


def compared(preset: Preset, name: str, batch: int, peer_batch: int, rounds: int) -> list[Row]:
    """The rows of one class."""
    rate = rates(contestants(preset, name, batch, peer_batch), rounds)
    peers = {
        "clean": ("clean", LENSTRONOMY, "clean peer"),
        "noisy": ("noisy", LENSTRONOMY, "noisy peer"),
        "clean kept": ("clean", f"{LENSTRONOMY} kept", "kept"),
        "clean classes": ("clean", CAUSTICS, "classes"),
    }
    metric = f"images_per_s {preset.name} {name}"
    return [
        Row.beside(f"{metric} {kind}", rate[ours], "images/s", peer, rate[theirs], "higher")
        for kind, (ours, peer, theirs) in peers.items()
    ]


def compile_time(preset: Preset) -> Row:
    """How long the first batch takes, by the clock."""
    begin = time.perf_counter()
    simulate(preset, 4 * len(preset.classes), seed=0)
    return Row(f"compile_s {preset.name}", time.perf_counter() - begin, "s")


def peak_memory(preset: Preset, batch: int) -> Row:
    """Of a process that simulates batches of all classes, torch and the compiled code included."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE, preset.name, str(batch)], stdout=subprocess.PIPE, text=True, check=True
    )
    return Row(f"peak_memory {preset.name} batches of {batch}", float(done.stdout), "MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    parser.add_argument("--batch", type=int, default=64, help="images in a batch of ours (default 64)")
    parser.add_argument("--peer-batch", type=int, default=8, help="images of a peer in a round (default 8)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds, after one to warm up (default 15)")
    chosen = parser.parse_args()

    torch.set_num_threads(1)
    found = []
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        presets = [PRESETS.get(name) for name in ("deeplense/model-1", "deeplense/model-2")]
        found += [compile_time(preset) for preset in presets]
        for preset in presets:
            for name in preset.classes:
                found += compared(preset, name, chosen.batch, chosen.peer_batch, chosen.rounds)
        if sys.platform == "linux":
            found += [peak_memory(preset, chosen.batch) for preset in presets]
    emit(found, chosen.json)


if __name__ == "__main__":
    main()

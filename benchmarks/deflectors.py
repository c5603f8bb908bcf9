"""What many deflectors cost: images of `corrected/model-1` on one core, by class and by the number of subhalos.

    python benchmarks/deflectors.py --json deflectors.json

``images_per_s corrected/model-1 CLASS``: whole batches as training takes them, noise included; ``all`` is a balanced
batch. ``images_per_s corrected/model-1 N subhalos``: noise-free images of lenses with exactly N subhalos, projection
included, against lenstronomy, which sums the same halos exactly and projects nothing. Rates count the processor's time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import lenstronomy
import torch
from oracle import SCIENCE
from oracle import rows as one_by_one
from rows import Row, emit
from threadpoolctl import threadpool_limits

from arcformer.sim.presets import PRESETS
from arcformer.sim.render import clean_images, draw, simulate

PRESET = PRESETS.get("corrected/model-1")
NUMBERS = (0, 16, 64, 128, 256, 512)


def rate(count: int, make: Callable[[int], object], rounds: int) -> float:
    """Images a second, in the median round, after one that does not count."""
    taken = []
    for k in range(rounds + 1):
        begin = time.process_time()
        make(k)
        taken.append(time.process_time() - begin)
    return count / statistics.median(taken[1:])


def by_class(batch: int, rounds: int) -> list[Row]:
    names = {name: [name] * batch for name in PRESET.classes} | {"all": None}
    return [
        Row(
            f"images_per_s {PRESET.name} {name}",
            rate(
                batch,
                lambda k, labels=labels: simulate(PRESET, None if labels else batch, seed=k, labels=labels),
                rounds,
            ),
            "images/s",
        )
        for name, labels in names.items()
    ]


def by_number(number: int, batch: int, rounds: int) -> Row:
    parameters = draw(PRESET, torch.full((batch,), PRESET.classes.index("cdm")), 0)
    parameters["subhalo_count"].fill_(number)  # the tables are drawn full
    ours = rate(batch, lambda _: clean_images(PRESET, parameters), rounds)
    oracle = SCIENCE[PRESET.name]
    keywords = oracle.keywords(one_by_one(parameters)[0])
    theirs = rate(1, lambda _: oracle.image(keywords), min(rounds, 3))
    name = f"images_per_s {PRESET.name} {number} subhalos"
    return Row.beside(name, ours, "images/s", f"lenstronomy {lenstronomy.__version__}", theirs, "higher")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    parser.add_argument("--batch", type=int, default=96, help="images in a batch (default 96)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, after one to warm up (default 7)")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        rows = by_class(chosen.batch, chosen.rounds)
        rows += [by_number(number, min(chosen.batch, 32), chosen.rounds) for number in NUMBERS]
    emit(rows, chosen.json)


if __name__ == "__main__":
    main()

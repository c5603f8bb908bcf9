"""Whether populations are what a trained run says they are: coverage and width of what is inferred from N lenses.

    python benchmarks/population.py RUN --target f_sub --json population.json [--populations 40] [--sizes 10 100 1000]

Every population has a value of its own, drawn from the prior of training, which all its lenses share; lenses and images
come from the preset of the run. So the intervals of an exact posterior hold the value as often as they say, and what
they do less is the network's. ``coverage68 PRESET TARGET N``: the share of populations whose central 68 % of N lenses
hold the value, with Wilson's interval; ``width``: the median standard deviation of what is inferred; ``pull``: the mean
over populations of (inferred mean - value) / standard deviation, 0 for one without bias, with Student's interval.
"""

from __future__ import annotations

import argparse

import torch
from rows import Row, emit

import arcformer
from arcformer.metrics.intervals import Estimate, mean, wilson
from arcformer.population import LEVELS, check_target
from arcformer.progress import track
from arcformer.randomness import stream
from arcformer.seen import device_of
from arcformer.sim.named_priors import held_at, prior_of
from arcformer.sim.render import simulate
from arcformer.studies.population import Density, Ratios, log_ratios, shared
from arcformer.training import Run
from arcformer.training.provenance import device_name

BATCH = 100


def likelihoods(run: Run, target: str, value: float, lenses: int, *names: str | int, seed: int) -> Ratios:
    """Those of lenses that share ``value``, simulated as the run's images were, of the first class that has it."""
    preset = run.config.data.simulated
    prior, label = prior_of(preset, target), preset.classes_with(target)[0]
    held, parts = held_at(preset, target, value), []
    for start in range(0, lenses, BATCH):
        count = min(BATCH, lenses - start)
        drawn = {"seed": seed, "names": ("population", *names, start), "pixels": run.config.data.pixels}
        batch = run.transform(simulate(held, labels=[label] * count, device=device_of(run), **drawn))
        parts.append(log_ratios(run.task, batch, target, prior, seed=seed))
    return Ratios.cat(parts)


def rows_of(what: str, values: list[float], found: list[Density]) -> list[Row]:
    """Of one number of lenses: the values of the populations, and what was inferred of each."""
    rows = []
    for level in LEVELS:
        ends = [density.interval(level) for density in found]
        inside = sum(low <= value <= high for (low, high), value in zip(ends, values, strict=True))
        rows += estimate(f"coverage{100 * level:.0f} {what}", wilson(inside, len(found)), "share")
    pulls = [(density.mean - value) / density.std for density, value in zip(found, values, strict=True)]
    width = float(torch.tensor([density.std for density in found]).median())
    return [*rows, Row(f"width {what}", width, "unit of the target"), *estimate(f"pull {what}", mean(pulls), "sigma")]


def estimate(name: str, found: Estimate, unit: str) -> list[Row]:
    return [Row(name, found.value, unit), Row(f"{name} low", found.low, unit), Row(f"{name} high", found.high, unit)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="the folder of a finished run of task regress")
    parser.add_argument("--target", help="one of its targets, where it has several")
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    parser.add_argument("--populations", type=int, default=40)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000], help="lenses in a population")
    parser.add_argument("--seed", type=int, default=2000)
    chosen = parser.parse_args()
    run = arcformer.load(chosen.run)
    run.task.to("cuda" if torch.cuda.is_available() else "cpu")
    target = check_target(run, chosen.target)
    shares = torch.rand(chosen.populations, generator=stream(chosen.seed, "values"), dtype=torch.float64)
    values = prior_of(run.config.data.simulated, target).quantile(shares).tolist()
    found: dict[int, list[Density]] = {size: [] for size in chosen.sizes}
    for k, value in enumerate(track(values, "populations")):
        ratios = likelihoods(run, target, value, max(chosen.sizes), k, seed=chosen.seed)
        for size, densities in found.items():
            densities.append(shared(ratios[:size]))
    preset = run.config.data.preset
    rows = [row for size in found for row in rows_of(f"{preset} {target} {size}", values, found[size])]
    emit(rows, chosen.json, {"seed": chosen.seed, "device": device_name(device_of(run)), "run": run.folder.name})


if __name__ == "__main__":
    main()

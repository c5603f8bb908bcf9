"""``population``: files in, and out what their lenses say together of a number that they share."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from matplotlib.figure import Figure

from arcformer.catalogue import origin
from arcformer.disk import replaceable, unwritable, whole
from arcformer.errors import InputError, near
from arcformer.metrics import CENTRAL
from arcformer.seen import Seen, device_of, through
from arcformer.sim.named_priors import prior_of
from arcformer.sim.presets import PRESETS, Preset
from arcformer.studies.population import GRID, Density, Ratios, log_ratios, scattered, shared
from arcformer.studies.style import GREY, PALETTE, figure, png
from arcformer.tasks import Estimator

if TYPE_CHECKING:
    from arcformer.training import Run

__all__ = ["Population", "check_folder", "check_target", "picture", "population", "write_population"]

RESULT, TABLE, LENSES, PICTURE, SKIPPED = (
    "population.json", "posterior.csv", "lenses.csv", "population.png", "skipped.txt",
)  # fmt: skip

LEVELS = (CENTRAL, 0.95)
"""Of the central intervals that are told and drawn."""

MOST = 200
"""Lenses that are drawn one by one; more would be a grey area."""

UNLIKELY = 0.01
"""So much less likely than the likeliest spread, none at all is worth a remark."""


@dataclass(frozen=True)
class Population:
    """What lenses say of one target.

    Attributes:
        target: its name.
        paths: N files.
        notes: for each of them, in what it is not as in training.
        ratios: the likelihood of each lens.
        shared: the posterior of the target, if all lenses have the same.
        mean, spread: posteriors of its mean and standard deviation, if it is scattered among them as a Gaussian.
        remarks: what to know before believing them.
        skipped: a line for each bad file that was left out.
        junk: how many files in folders were passed over as no images.
    """

    target: str
    paths: tuple[Path, ...]
    notes: tuple[tuple[str, ...], ...]
    ratios: Ratios
    shared: Density
    mean: Density
    spread: Density
    remarks: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    junk: int = 0

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def densities(self) -> dict[str, Density]:
        """The three posteriors by name."""
        return {"shared": self.shared, "mean": self.mean, "spread": self.spread}

    @property
    def rows(self) -> list[dict[str, str | float]]:
        """``quantity``, ``mean``, ``std`` and the ends of the central 68 and 95 %, of each of the three posteriors."""
        return [{"quantity": name} | _summary(density) for name, density in self.densities.items()]


@torch.no_grad()
def population(
    run: Run,
    paths: Iterable[str | Path],
    target: str | None = None,
    *,
    grid: int = GRID,
    skip_bad: bool = False,
    centre: tuple[float, float] | None = None,
    progress: Callable[[Sequence[Path]], Iterable[Path]] = iter,
    **options: Any,
) -> Population:
    """What the lenses in files say together of one target of a run, by ``studies/population.py``.

    Args:
        run: as ``arcformer.load`` gives it, of a task that estimates targets.
        paths, skip_bad, centre, progress, options: as ``predict`` takes them.
        target: one of the run's targets; None: its only one. All these lenses are taken to have it.
        grid: at how many values of the target.

    Raises:
        BadFile: without ``skip_bad``, the first file that cannot be used; with it, when none can.
        InputError: a run without that target, or whose preset does not say from what prior it was drawn.

    Example:
        >>> found = population(arcformer.load("run"), ["lenses"], "f_sub")
        >>> found.shared.mean, found.shared.interval(0.68)
    """
    target, task = check_target(run, target), cast(Estimator, run.task)
    prior = prior_of(_preset(run), target)

    def of(one: Seen) -> tuple[Ratios, Path, tuple[str, ...]]:
        return log_ratios(task, one.seen.to(device_of(run)), target, prior, grid=grid), one.path, one.notes

    reading = {"skip_bad": skip_bad, "centre": centre, "progress": progress, **options}
    found, skipped, junk = through(run, paths, of, **reading)
    ratios = Ratios.cat([one for one, _, _ in found])
    names, notes = tuple(path for _, path, _ in found), tuple(lines for _, _, lines in found)
    mean, spread = scattered(ratios)
    remarks = _remarks(run, target, ratios, spread, notes)
    return Population(target, names, notes, ratios, shared(ratios), mean, spread, remarks, skipped, junk)


def check_target(run: Run, target: str | None) -> str:
    """The target that is meant; raises ``InputError`` where the run has no such one, or several to choose from."""
    if not isinstance(run.task, Estimator):
        raise InputError(
            f"the run in {run.folder} estimates no target: its task is {run.config.task.name}; "
            "a population needs a run of task regress"
        )
    names = run.task.targets
    if target is None:
        target, *others = names
        if others:
            raise InputError(f"the run estimates {', '.join(names)}; choose one with target (--target)")
    if target not in names:
        raise InputError(f"the run in {run.folder} does not estimate {target!r}; {near(target, names)}")
    return target


def write_population(folder: str | Path, found: Population, run: Run) -> Path:
    """Write ``population.json``, ``posterior.csv``, ``lenses.csv``, a line a file, and ``population.png``.

    Args:
        folder: new, empty, or one that this function wrote before and nothing else was put in: then it is replaced.

    Returns:
        Where ``population.json`` lies.

    Raises:
        InputError: the folder holds something else, or cannot be written to.
    """
    folder = Path(folder)
    result = {
        "target": found.target,
        "lenses": len(found),
        "prior": str(found.ratios.prior),
        **{row.pop("quantity"): row for row in found.rows},
        "remarks": list(found.remarks),
        **origin(run),
    }
    curves = [(n, v, d) for n, of in found.densities.items() for v, d in zip(of.values, of.density, strict=True)]
    lenses = [
        {"path": str(path)} | _summary(of) | {"notes": "; ".join(notes)}
        for path, of, notes in zip(found.paths, found.ratios.posteriors, found.notes, strict=True)
    ]
    with unwritable(folder):
        for path in check_folder(folder):
            path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        with whole(folder / RESULT) as path:
            path.write_text(json.dumps(result, indent=2) + "\n")
        _write(folder / TABLE, ["of", "value", "density"], curves)
        _write(folder / LENSES, list(lenses[0]), [list(line.values()) for line in lenses])
        if found.skipped:
            (folder / SKIPPED).write_text("\n".join(found.skipped) + "\n", errors="surrogateescape")
        (folder / PICTURE).write_bytes(png(picture(found)))
    return folder / RESULT


def check_folder(folder: Path) -> list[Path]:
    """The files of an earlier population in ``folder``; ``InputError`` where it is no folder or holds others."""
    return replaceable(folder, {RESULT, TABLE, LENSES, PICTURE, SKIPPED}, RESULT, "the population")


def picture(found: Population) -> Figure:
    """The posterior of the shared target, above it that of each lens and the prior; beside it mean and spread."""
    values = found.ratios.values
    prior = Density.of(values, found.ratios.prior.log_prob(values))
    with figure(9.2, 3.1) as drawn:
        left, right = drawn.subplots(1, 2)
        for alone in found.ratios.posteriors[:MOST]:
            left.plot(alone.values, alone.density / alone.density.max(), color=GREY, alpha=0.25, linewidth=0.7)
        left.plot(prior.values, prior.density / prior.density.max(), color=GREY, linewidth=1.2, dashes=(4, 2))
        _filled(left, found.shared, PALETTE[0])
        low, high = found.shared.interval(LEVELS[0])
        title = f"shared by {len(found):,} lenses: {found.shared.quantile(0.5):.3g} [{low:.3g}, {high:.3g}]"
        left.set(xlabel=found.target, ylabel="density over its peak", ylim=(0, 1.05), title=title)
        for density, tint, name in ((found.mean, PALETTE[0], "mean"), (found.spread, PALETTE[1], "spread")):
            _filled(right, density, tint, name)
        right.set(xlabel=f"{found.target}, scattered as a Gaussian", ylim=(0, 1.05))
        right.legend()
    return drawn


def _filled(axes: Any, density: Density, tint: str, label: str | None = None) -> None:
    """A density over its peak, its central 68 % filled and its central 95 % filled less."""
    curve = density.density / density.density.max()
    axes.plot(density.values, curve, color=tint, label=label)
    for level in LEVELS:
        low, high = density.interval(level)
        inside = (density.values >= low) & (density.values <= high)
        axes.fill_between(density.values, 0, curve, inside, color=tint, alpha=0.2, linewidth=0)


def _summary(density: Density) -> dict[str, Any]:
    ends = {f"{end}_{level:.0%}".rstrip("%"): at for level in LEVELS
            for end, at in zip(("low", "high"), density.interval(level), strict=True)}  # fmt: skip
    return {"mean": density.mean, "std": density.std, "median": density.quantile(0.5)} | ends


def _remarks(run: Run, target: str, ratios: Ratios, spread: Density, notes: Sequence[Sequence[str]]) -> tuple[str, ...]:
    preset = PRESETS.get(run.config.data.preset)
    classes = preset.classes_with(target)
    remarks = []
    if classes != preset.classes:
        remarks.append(f"every lens is taken to be of a class that has {target}: {', '.join(classes)}")
    if run.config.data.folder is not None:
        remarks.append(f"the prior is that of {preset.name}; that of {run.config.data.folder} is taken to be alike")
    if narrow := int(ratios.narrow.sum()):
        remarks.append(f"{narrow:,} of {len(ratios):,} posteriors are narrower than the grid: take a finer one")
    if unlike := sum(1 for lines in notes if lines):
        remarks.append(f"{unlike:,} of {len(ratios):,} images have a note, as on what was taken for granted of them")
    if spread.density[0] < UNLIKELY * spread.density.max():
        remarks.append(f"they hardly share one {target}: it is scattered by {spread.quantile(0.5):.2g}")
    return tuple(remarks)


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with whole(path) as unfinished, unfinished.open("w", newline="", errors="surrogateescape") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows([f"{v:.6g}" if isinstance(v, float | np.floating) else v for v in row] for row in rows)


def _preset(run: Run) -> Preset:
    """The preset of a run, with the classes that it is about."""
    return PRESETS.get(run.config.data.preset).of_classes(run.config.data.only)

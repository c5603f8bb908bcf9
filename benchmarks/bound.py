"""What can be known of every preset: the AUC that the best method could reach, and the floor of the errors.

    python benchmarks/bound.py --json bound.json [--lenses 12] [--draws 400] [--presets 'corrected/*']

``bound PRESET A-B``: AUC of the likelihood ratio with all parameters of lens and source refitted, and its 95 % interval
over lenses. ``bound PRESET A-B known``: where the published sets hold the macromodel fixed, with only that refitted
which the set varies; the rest of what a network reaches on them is a leak. ``floor PRESET NAME``: mean absolute error,
dex. ``bound PRESET no_sub-cdm f_sub F``: with f_sub held at F. Sets without noise have no bound: all can be known.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from rows import Row, emit

from arcformer.errors import InputError
from arcformer.metrics.intervals import Estimate
from arcformer.progress import track
from arcformer.sim.presets import PRESETS, Preset
from arcformer.sim.priors import Fixed
from arcformer.sim.substructure import Subhalos
from arcformer.studies.bound import information_bound

SHARES = (0.003, 0.01, 0.03, 0.1)
"""Of dark matter in subhalos, at which presets of ``BY_SHARE`` are looked at."""

BY_SHARE = ("corrected/model-1", "corrected/model-1-deep", "corrected/model-2", "corrected/model-3")


def estimate(name: str, found: Estimate, unit: str) -> list[Row]:
    return [Row(name, found.value, unit), Row(f"{name} low", found.low, unit), Row(f"{name} high", found.high, unit)]


def bounds(preset: Preset, what: str = "", refitted: bool = True, **size: int) -> list[Row]:
    """Rows of one preset."""
    found = information_bound(
        preset,
        refitted=refitted,
        progress=lambda numbers: track(list(numbers), f"{preset.name}{what}", unit="lenses"),
        **size,
    )
    rows = []
    for pair, auc in found.pairs.items():
        rows += estimate(f"bound {preset.name} {'-'.join(pair)}{what}", auc, "AUC")
    for name, error in found.errors.items():
        rows += estimate(f"floor {preset.name} {name}{what}", error, "dex")
    return rows


def with_share(preset: Preset, share: float) -> Preset:
    """A preset of ``no_sub`` and ``cdm`` alone, with one share of dark matter in subhalos."""
    cold = preset.populations["cdm"]
    assert isinstance(cold, Subhalos)
    kept = {"no_sub": preset.populations["no_sub"], "cdm": replace(cold, f_sub=Fixed(share))}
    return replace(preset, populations=kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    parser.add_argument("--lenses", type=int, default=12, help="smooth lenses (default 12)")
    parser.add_argument("--draws", type=int, default=400, help="substructures of each class and lens (default 400)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--presets", default="*", help="a shell pattern (default all)")
    chosen = parser.parse_args()
    size = {"lenses": chosen.lenses, "draws": chosen.draws, "seed": chosen.seed}
    rows: list[Row] = []
    for name in PRESETS.names(chosen.presets):
        preset = PRESETS.get(name)
        try:
            rows += bounds(preset, **size)
            if name.startswith("deeplense/"):
                rows += bounds(preset, " known", refitted=False, **size)
        except InputError as reason:
            print(f"left out: {reason}", file=sys.stderr)
            continue
        for share in SHARES if name in BY_SHARE else ():
            rows += bounds(with_share(preset, share), f" f_sub {share:g}", **size)
        emit(rows, chosen.json)  # so that a long run that is cut off leaves what it has
    emit(rows, chosen.json)


if __name__ == "__main__":
    main()

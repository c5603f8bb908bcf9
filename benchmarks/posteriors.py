"""Keep what the studies of masses found, and have docs/regression.md show it.

arcformer study runs/studies/axion-mass.toml --out axion
arcformer study runs/studies/masses.toml --out masses
arcformer train runs/hubble.toml --out hubble && arcformer evaluate hubble --count 2000 --out sky
python benchmarks/posteriors.py axion masses --report sky    writes results/regression.json and the tables of the page
python benchmarks/posteriors.py                              the tables again, from results/
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from kept import NAMED, ROOT, rows_of, write
from tables import between, short

KEPT, PAGE = ROOT / "results" / "regression.json", ROOT / "docs" / "regression.md"
COMMANDS = [line.strip() for line in (__doc__ or "").splitlines() if line.strip().startswith("arcformer")]
LEVELS = (50, 68, 90, 95)
HUBBLE = " survey/hst"
BY = "posteriors.py"

METRICS = (
    "mae_*", "median_mae_*", "rmse_*", "r2_*", "bias_*", "coverage_*", "nll", "sbc_p_*", "tarp_*", "relative_error_*",
    "linear_mae_*", "boosted_mae_*", "prior_mae_*", "floor_mae_*", "over_floor_mae_*",
    "parameters", "seconds", "seconds_before", "images_seen", "images_seen_before",
)  # fmt: skip

Row = dict[str, Any]
Runs = dict[tuple[str, str], dict[str, dict[str, Row]]]
"""Rows by metric, of each preset and run, of each seed."""


def runs() -> Runs:
    """What is kept of single runs, taken apart by name."""
    found: Runs = {}
    for row in json.loads(KEPT.read_text())["rows"]:
        if parts := NAMED.fullmatch(row["name"]):
            of_run = found.setdefault((parts["preset"], parts["run"]), {})
            of_run.setdefault(parts["seed"], {})[parts["metric"]] = row
    return {key: seeds for key, seeds in found.items() if any("nll" in metrics for metrics in seeds.values())}


def table() -> str:
    """A row for each run and target, means over its seeds: error, what the trivial reach, coverage, flatness."""
    head = ["preset", "run", "seeds", "target", "error", "linear, trivial", "prior", "floor"]
    head += [f"{level} %" for level in LEVELS] + ["ranks, p"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for (preset, run), seeds in runs().items():
        first = next(iter(seeds.values()))
        for target in [name.removeprefix("mae_") for name in first if name.startswith("mae_")]:

            def mean(metric: str, target: str = target, seeds: dict[str, dict[str, Row]] = seeds) -> str:
                values = [of[f"{metric}_{target}"]["value"] for of in seeds.values() if f"{metric}_{target}" in of]
                return short(sum(values) / len(values)) if values else ""

            error = mean("mae")
            if len(seeds) == 1:
                row = first[f"mae_{target}"]
                error += f" [{short(row['low'])}, {short(row['high'])}]"
            flat = ", ".join(f"{of[f'sbc_p_{target}']['value']:.1g}" for of in seeds.values())
            cells = [f"`{preset}`", run, str(len(seeds)), f"`{target}`", error]
            cells += [mean(f"{what}_mae") for what in ("linear", "prior", "floor")]
            cells += [mean(f"coverage_{level}") for level in LEVELS] + [flat]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def sky() -> str:
    """A row for each target of the smooth lens as Hubble sees it."""
    rows = json.loads(KEPT.read_text())["rows"]
    found = {name.removesuffix(HUBBLE): row for row in rows if (name := row["name"]).endswith(HUBBLE)}
    head = ["target", "error", "relative, median", "linear, trivial", "prior", *(f"{level} %" for level in LEVELS)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for target in [name.removeprefix("mae_") for name in found if name.startswith("mae_")]:
        error = found[f"mae_{target}"]
        cells = [f"`{target}`", f"{short(error['value'])} [{short(error['low'])}, {short(error['high'])}]"]
        names = ("relative_error", "linear_mae", "prior_mae", *(f"coverage_{level}" for level in LEVELS))
        each = [found.get(f"{name}_{target}") for name in names]
        lines.append("| " + " | ".join([*cells, *("" if row is None else short(row["value"]) for row in each)]) + " |")
    return "\n".join(lines)


def page(text: str) -> str:
    """The page of regression with its tables as results/ has them."""
    return between(between(text, "posteriors", table(), BY), "sky", sky(), BY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path, nargs="*", help="the folders of the studies")
    parser.add_argument("--report", type=Path, help="the folder of an evaluation, whose numbers are kept as well")
    chosen = parser.parse_args()
    if chosen.studies:
        rows = [row for study in chosen.studies for row in rows_of(study, METRICS)]
        if chosen.report:
            evaluated = json.loads((chosen.report / "metrics.json").read_text())
            rows += [{"name": f"{name}{HUBBLE}", **row} for name, row in evaluated.items() if "value" in row]
        write(KEPT.name, chosen.studies, rows, commands=COMMANDS)
    PAGE.write_text(page(PAGE.read_text()))


if __name__ == "__main__":
    main()

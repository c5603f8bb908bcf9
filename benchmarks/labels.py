"""Keep what the study of labels found, and have docs/pretraining.md show it.

    arcformer study runs/studies/label-efficiency.toml --out labels
    python benchmarks/labels.py labels     writes results/label-efficiency.json, the curve, and the tables of the page
    python benchmarks/labels.py            curve and tables again, from results/

Of every run the numbers that a comparison is about are kept, with device, commit and dates; of the differences to
training from nothing, all.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from kept import ROOT, rows_of, write
from matplotlib.figure import Figure
from tables import between

from arcformer.studies.style import GREY, PALETTE, figure, png

KEPT, PAGE = ROOT / "results" / "label-efficiency.json", ROOT / "docs" / "pretraining.md"
PICTURE = ROOT / "docs" / "images" / "label-efficiency.png"

METRICS = (
    "auroc", "accuracy", "auroc_above_leak", "leak_auroc", "auroc_mean", "auroc_sd", "accuracy_mean",
    "validation_auroc", "validation_probe_auroc", "seconds", "seconds_before", "images_seen", "images_seen_before",
)  # fmt: skip
AGAINST = "scratch, 1000 steps"
NAMED = re.compile(r"(?P<metric>\w+) (?P<preset>\S+) (?P<method>.+), (?P<labels>\d+), (?P<seeds>seed \d+|\d+ seeds?)")

Row = dict[str, Any]
Values = dict[tuple[str, str, int, str], Row]
"""Rows by metric, method, labels of each class, and seed or seeds."""


def values() -> Values:
    """What is kept, taken apart by name."""
    found = {}
    for row in json.loads(KEPT.read_text())["rows"]:
        if parts := NAMED.fullmatch(row["name"]):
            found[parts["metric"], parts["method"], int(parts["labels"]), parts["seeds"]] = row
    return found


def means() -> dict[tuple[str, int], tuple[float, list[float]]]:
    """The mean AUC over the seeds of each method and number of labels, and that of each seed."""
    seeds: dict[tuple[str, int], list[float]] = {}
    for (metric, method, labels, _), row in values().items():
        if metric == "auroc":
            seeds.setdefault((method, labels), []).append(row["value"])
    return {cell: (sum(each) / len(each), each) for cell, each in seeds.items()}


def methods() -> list[str]:
    """Those that were trained with several numbers of labels, in the order of the study."""
    cells = list(means())
    return [m for m in dict.fromkeys(method for method, _ in cells) if sum(m == method for method, _ in cells) > 1]


def differences() -> dict[tuple[str, int], Row]:
    """AUC less that of training from nothing with the same labels, by method and labels of each class."""
    found = {}
    for row in json.loads(KEPT.read_text())["contrasts"]:
        parts = re.fullmatch(rf"difference auroc (.+), (\d+) minus {AGAINST}, (\d+) seeds?", row["name"])
        if parts:
            found[parts[1], int(parts[2])] = row | {"seeds": int(parts[3])}
    return found


def curve() -> Figure:
    """AUC against the number of labels, a line a method, a point a seed."""
    found = means()
    with figure(6.2, 3.8) as drawn:
        axes = drawn.add_subplot(xscale="log", xlabel="labelled images of each class", ylabel="AUC on test images")
        for k, method in enumerate(methods()):
            colour = GREY if method.startswith("scratch") else PALETTE[k % len(PALETTE)]
            labels = [n for name, n in found if name == method]
            dashes = "--" if method == AGAINST else "-"
            axes.plot(labels, [found[method, n][0] for n in labels], dashes, color=colour, label=method)
            for n in labels:
                axes.scatter([n] * len(found[method, n][1]), found[method, n][1], color=colour, s=12)
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.18))
        return drawn


def table() -> str:
    """A row a method: mean AUC at each number of labels, and below it what it is above training from nothing."""
    found, above = means(), differences()
    counts = sorted({labels for _, labels in found})
    lines = ["| | " + " | ".join(f"{n:,}" for n in counts) + " |", "|---" * (len(counts) + 1) + "|"]
    for method in dict.fromkeys(method for method, _ in found):
        cells = []
        for n in counts:
            if (method, n) not in found:
                cells.append("")
                continue
            text = f"{found[method, n][0]:.3f}".removeprefix("0")
            if row := above.get((method, n)):
                better = "**" if row["low"] > 0 else ""
                text += f" {better}{row['value']:+.3f}{better} [{row['low']:+.3f}, {row['high']:+.3f}]"
            cells.append(text)
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    seeds = [f"{n:,} labels: {max(len(found[cell][1]) for cell in found if cell[1] == n)}" for n in counts]
    return "\n".join([*lines, "", f"Seeds: {', '.join(seeds)}."])


def page(text: str) -> str:
    """The page of pretraining with its table as results/ has it."""
    return between(text, "labels", table(), "labels.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, nargs="?", help="the folder of the study")
    chosen = parser.parse_args()
    if chosen.study:
        write(KEPT.name, [chosen.study], rows_of(chosen.study, METRICS))
    PICTURE.write_bytes(png(curve()))
    PAGE.write_text(page(PAGE.read_text()))


if __name__ == "__main__":
    main()

"""Keep what the study of anomalies found, and have docs/anomaly.md show it.

arcformer study runs/studies/anomaly.toml grid=[] --out anomalies
python benchmarks/detections.py anomalies    writes results/anomaly.json and the table of the page
python benchmarks/detections.py              the table again, from results/
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from kept import NAMED, ROOT, rows_of, write
from tables import between, short

KEPT, PAGE = ROOT / "results" / "anomaly.json", ROOT / "docs" / "anomaly.md"
COMMANDS = [line.strip() for line in (__doc__ or "").splitlines() if line.strip().startswith("arcformer")]

METRICS = (
    "auroc*", "ap", "recall_*", "flagged_*", "mahalanobis_*", "forest_*", "above_*", "false_alarms_*", "uniform_p",
    "fdr_*", "box_plot_*", "spearman_*", "where_*", "oddity_*", "seconds", "seconds_before",
)  # fmt: skip
SHOWN = {
    "auroc": "AUC",
    "auroc_cdm": "cdm",
    "auroc_axion": "axion",
    "recall_1": "found at 1 %",
    "mahalanobis_auroc": "AUC, trivial",
    "false_alarms_1": "false alarms at 1 %",
    "uniform_p": "p-values uniform, p",
    "fdr_10": "false discoveries at 10 %",
}


def table() -> str:
    """A row for each run of each preset, means over its seeds; the interval of one seed is over images."""
    found: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for row in json.loads(KEPT.read_text())["rows"]:
        if parts := NAMED.fullmatch(row["name"]):
            statistic = parts["run"].rpartition(", ")[2]
            found.setdefault((parts["preset"], statistic), {}).setdefault(parts["metric"], []).append(row)
    lines = ["| preset | statistic | seeds | " + " | ".join(SHOWN.values()) + " |", "|---" * (len(SHOWN) + 3) + "|"]
    for (preset, statistic), metrics in found.items():
        if "auroc" not in metrics:
            continue
        cells = [
            f"`{preset}`",
            statistic,
            str(len(metrics["auroc"])),
            *(_cell(metrics.get(name, [])) for name in SHOWN),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def page(text: str) -> str:
    """The page of anomalies with its table as results/ has it."""
    return between(text, "detections", table(), "detections.py")


def _cell(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    value = _short(sum(row["value"] for row in rows) / len(rows))
    return (
        f"{value} [{_short(rows[0]['low'])}, {_short(rows[0]['high'])}]"
        if len(rows) == 1 and "low" in rows[0]
        else value
    )


def _short(value: float) -> str:
    """With four digits close to one."""
    return short(value, 4 if 0.995 <= value < 0.99995 else 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, nargs="?", help="the folder of the study")
    chosen = parser.parse_args()
    if chosen.study:
        write(KEPT.name, [chosen.study], rows_of(chosen.study, METRICS), commands=COMMANDS)
    PAGE.write_text(page(PAGE.read_text()))


if __name__ == "__main__":
    main()

"""How well trivial features of an image tell the classes of a preset apart: the leak of every preset.

    python benchmarks/leaks.py --json leaks.json [--count 5000] [--presets 'corrected/*'] [--device cuda]

Flux, peak, radius and width of the ring, sky, concentration and centroid of every image, for each pair of classes, by a
logistic regression and by boosted trees, five-fold; their AUC with its 95 % interval. The published presets as they
are. Those that correct them as they are (`varied`); with macromodel, source and exposure held fixed and shared
between the classes (`fixed`), because what varies hides a leak; and, as the control that this can find one, fixed
with the projection switched off (`control`).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import combinations

import torch
from rows import Row, emit

from arcformer.sim.presets import PRESETS, Preset
from arcformer.sim.render import draw_lens, simulate
from arcformer.studies.leaks import audit, trivial_features

BATCH = 200


def leaks(preset: Preset, count: int, seed: int, what: str, device: str = "cpu") -> list[Row]:
    """Rows for each pair of classes; but for ``varied``, all images are of one lens, source and exposure."""
    lens = None if what == "varied" else draw_lens(preset, torch.tensor([0]), seed, "leaks")
    features, labels = [], []
    for k in range(-(-count * len(preset.classes) // BATCH)):
        batch = simulate(preset, BATCH, seed=seed, names=("leaks", what, k), lens=lens, device=device).to("cpu")
        features.append(trivial_features(batch))
        labels.append(batch.labels)
    x, y = torch.cat(features), torch.cat(labels)
    rows = []
    for a, b in combinations(range(len(preset.classes)), 2):
        pair = (y == a) | (y == b)
        names = (preset.classes[a], preset.classes[b])
        found = audit(x[pair], (y[pair] == b).long(), names, seed=seed)
        for method, estimate in (("linear", found.linear), ("boosted", found.boosted)):
            name = f"leak {preset.name} {names[0]}-{names[1]} {what} {method}"
            rows += [Row(name, estimate.value, "AUC"), Row(f"{name} upper", estimate.high, "AUC")]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    parser.add_argument("--count", type=int, default=5000, help="images per class (default 5000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--presets", default="*", help="a shell pattern (default all with two classes or more)")
    parser.add_argument("--device", default="cpu", help="where images are simulated (default cpu)")
    chosen = parser.parse_args()
    size = {"count": chosen.count, "seed": chosen.seed, "device": chosen.device}
    rows: list[Row] = []
    for name in PRESETS.names(chosen.presets):
        preset = PRESETS.get(name)
        if len(preset.classes) < 2:
            continue
        rows += leaks(preset, what="varied", **size)
        if preset.projected:
            rows += leaks(preset, what="fixed", **size)
            rows += leaks(replace(preset, projected=False), what="control", **size)
    emit(rows, chosen.json)


if __name__ == "__main__":
    main()

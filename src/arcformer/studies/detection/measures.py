"""Numbers of a detection, each with its 95 % interval: what is found, by how much trivial features are beaten, false
alarms, discoveries in catalogues, correlations with nuisances, and detection curves.

N images. Names end in the class, the nuisance or the oddity that they are of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arcformer.metrics import Estimate, bootstrap, clopper_pearson, detection_report, rank_correlation, wilson
from arcformer.metrics.classification import weighted_auc
from arcformer.metrics.detection import (
    FALSE_ALARMS,
    false_alarms,
    false_discoveries,
    percent,
    score_at,
    uniformity,
    weighted_recalls,
)

__all__ = [
    "FDR", "PROMISED", "RANGES", "above_trivial", "box_plotted", "curves", "found_in", "kept_promises", "nuisances",
    "oddity",
]  # fmt: skip

Array = NDArray[np.float64]

PROMISED = (0.01, 0.05, 0.10)
"""Rates of false alarms that are looked at: are they what p-values say?"""

FDR, CATALOGUE, SHARE = 0.10, 1000, 0.05
"""The rate of false discoveries that is asked for, in catalogues of so many images, such a share of them anomalous."""

BINS, ENOUGH = 8, 10
"""Of a detection curve, and the images of a bin at least."""

SAME = 1 - 1e-6
"""Two properties with such a rank correlation are one."""

SIGNED = ("spearman_*", "above_*", "where_above_*")

SHARES = (
    "auroc*", "ap", "recall*", "flagged*", "false_alarms*", "box_plot*", "uniform_p", "fdr*", "mahalanobis_*",
    "forest_*", "oddity_*", "where_*",
)  # fmt: skip

RANGES: dict[str, tuple[float, float]] = {**dict.fromkeys(SIGNED, (-1.0, 1.0)), **dict.fromkeys(SHARES, (0.0, 1.0))}
"""Between which ends numbers lie, by shell patterns of their names."""


def found_in(
    scores: Array, p_values: Array, labels: NDArray[np.int64], classes: Sequence[str], normal: Sequence[str], seed: int
) -> dict[str, Estimate]:
    """``auroc``, ``ap``, ``recall_1``, ``recall_5`` of all anomalous classes together, and of each against the normal.

    And ``flagged_1_CLASS``: the share of a class with p <= 1 %, which needs no normal images in the test. What the
    images do not show, as an AUC without normal ones, is left out.

    Args:
        scores, p_values: (N,).
        labels: (N,), index into ``classes``.
        normal: those classes that are not anomalous.
        seed: of the bootstrap.
    """
    others = [name for name in classes if name not in normal]
    is_normal = np.isin(labels, [k for k, name in enumerate(classes) if name in normal])
    found: dict[str, Estimate] = {}
    if is_normal.any() and not is_normal.all():
        found |= detection_report(scores, ~is_normal, seed=seed)
        for name in others:
            rows = is_normal | (labels == classes.index(name))
            if (~is_normal[rows]).any():
                report = detection_report(scores[rows], ~is_normal[rows], seed=seed)
                found |= {f"{what}_{name}": value for what, value in report.items() if what != "ap"}
    for name in others:
        rows = labels == classes.index(name)
        if rows.any():
            found[f"flagged_1_{name}"] = wilson(int((p_values[rows] <= FALSE_ALARMS[0]).sum()), int(rows.sum()))
    return found


def above_trivial(
    scores: Array, trivial: Mapping[str, Array], anomalous: NDArray[np.bool_], seed: int
) -> dict[str, Estimate]:
    """``METHOD_auroc`` and ``METHOD_recall_1`` of trivial statistics, and ``above_METHOD_auroc``, images in pairs."""

    def metrics(weights: Array) -> dict[str, Array]:
        own, found = weighted_auc(scores, anomalous, weights), {}
        for method, other in trivial.items():
            area = weighted_auc(other, anomalous, weights)
            (recall,) = weighted_recalls(other, anomalous, weights, FALSE_ALARMS[:1])
            found |= {
                f"{method}_auroc": area,
                f"{method}_recall_{percent(FALSE_ALARMS[0])}": recall,
                f"above_{method}_auroc": own - area,
            }
        return found

    return bootstrap(metrics, len(scores), seed=seed)


def kept_promises(
    p_values: Array, anomalous: NDArray[np.bool_], calibration: int | None, seed: int
) -> dict[str, Estimate]:
    """``false_alarms_1``, ``_5``, ``_10`` (exact binomial), ``uniform_p`` of the normal ones; ``fdr_10`` and its power.

    Args:
        p_values: (N,).
        anomalous: (N,), whether an image is.
        calibration: number of the calibration scores, where that is known.
        seed: of the catalogues.
    """
    normal = p_values[~anomalous]
    if not len(normal):
        return {}
    found = {f"false_alarms_{percent(rate)}": false_alarms(normal, rate) for rate in PROMISED}
    found["uniform_p"] = Estimate(uniformity(normal, calibration), math.nan, math.nan)
    if anomalous.any():
        names = (f"fdr_{percent(FDR)}", f"fdr_{percent(FDR)}_found")
        drawn = false_discoveries(normal, p_values[anomalous], FDR, size=CATALOGUE, share=SHARE, seed=seed)
        found |= dict(zip(names, drawn, strict=True))
    return found


def box_plotted(scores: Array, anomalous: NDArray[np.bool_], threshold: float) -> dict[str, Estimate]:
    """``box_plot_false_alarms`` and ``box_plot_recall`` of the threshold of a box plot."""
    found = {}
    for name, rows in (("false_alarms", ~anomalous), ("recall", anomalous)):
        if rows.any():
            found[f"box_plot_{name}"] = clopper_pearson(int((scores[rows] > threshold).sum()), int(rows.sum()))
    return found


def nuisances(scores: Array, known: Mapping[str, Array]) -> dict[str, Estimate]:
    """``spearman_NAME``: the rank correlation of the score with all that is known of normal images and varies."""
    found = {}
    for name, values in known.items():
        if np.isfinite(values).all() and len(values) > 3 and np.ptp(values) > 1e-9 * np.abs(values).max():
            found[f"spearman_{name}"] = rank_correlation(scores, values)
    return found


def curves(
    scores: Array, labels: NDArray[np.int64], classes: Sequence[str], normal: Sequence[str], known: Mapping[str, Array]
) -> list[dict[str, Any]]:
    """Recall of each anomalous class in bins of what it alone has, as the mass of its substructure.

    Returns:
        Rows with ``class``, ``of`` (what the bins are of), ``low``, ``high`` and ``middle`` (the median) of the bin,
        ``images``, and ``recall_1``, ``recall_5`` with Wilson intervals, at thresholds from the normal test images.
    """
    is_normal = np.isin(labels, [k for k, name in enumerate(classes) if name in normal])
    if not is_normal.any():
        return []
    thresholds = {f"recall_{percent(rate)}": score_at(scores[is_normal], rate) for rate in FALSE_ALARMS}
    rows = []
    for k, name in enumerate(classes):
        own, taken = labels == k, []
        if name in normal or own.sum() < ENOUGH:
            continue
        for what, values in known.items():
            along = values[own]
            peculiar = np.isfinite(along).all() and not np.isfinite(values[is_normal]).any()
            if not peculiar or np.ptp(along) <= 1e-9 * np.abs(along).max():
                continue
            if any(abs(rank_correlation(along, other).value) > SAME for other in taken):
                continue
            taken.append(along)
            for part in np.array_split(np.argsort(along, kind="stable"), max(1, min(BINS, len(along) // ENOUGH))):
                inside, its = along[part], scores[own][part]
                ends = {"low": float(inside.min()), "high": float(inside.max()), "middle": float(np.median(inside))}
                recalls = {
                    recall: wilson(int((its > threshold).sum()), len(part)) for recall, threshold in thresholds.items()
                }
                rows.append({"class": name, "of": what} | ends | {"images": len(part)} | recalls)
    return rows


def oddity(name: str, odd: Array, normal: Array, seed: int) -> dict[str, Estimate]:
    """``oddity_auroc_NAME`` and ``oddity_recall_1_NAME`` of the scores of odd images against those of normal ones."""
    report = detection_report(
        np.concatenate([odd, normal]), np.arange(len(odd) + len(normal)) < len(odd), rates=FALSE_ALARMS[:1], seed=seed
    )
    return {f"oddity_{what}_{name}": report[what] for what in ("auroc", f"recall_{percent(FALSE_ALARMS[0])}")}

"""``detect``: which of many files are anomalies, by a rate of false alarms or of false discoveries."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from arcformer.errors import InputError
from arcformer.metrics.detection import adjusted
from arcformer.predict import Predictions
from arcformer.tasks import Detector

if TYPE_CHECKING:
    from arcformer.training import Run

__all__ = ["check_detects", "decided"]

FLAG, DISCOVERY = "flag", "discovery"


def check_detects(run: Run, *, false_alarms: float, fdr: float | None = None) -> None:
    """See that a run can decide at these rates.

    Raises:
        InputError: a run of another task, a rate that is none, or too few calibration scores for it.
    """
    if not isinstance(run.task, Detector):
        raise InputError(
            f"the run in {run.folder} detects no anomalies: its task is {run.config.task.name}; train task detect, or "
            "use arcformer predict"
        )
    run.task.threshold(false_alarms)
    if fdr is not None and not 0 < fdr < 1:
        raise InputError(f"a false discovery rate is a share between 0 and 1, got {fdr:g}")


def decided(
    run: Run, predictions: Predictions, *, false_alarms: float = 0.01, fdr: float | None = None
) -> tuple[Predictions, tuple[str, ...]]:
    """Predictions of a run that detects anomalies, each with a decision.

    ``flag`` is ``anomaly`` where the p-value is at most ``false_alarms``, else empty: of normal images at most that
    share is flagged, so that of many files some are in any case. With ``fdr`` there is ``discovery`` beside it, by
    Benjamini and Hochberg's procedure over all of these files: at most that share of the discoveries is normal, on
    average.

    Args:
        run: as ``arcformer.load`` gives it.
        predictions: as ``predict`` gives them.

    Returns:
        The predictions, and what to know of the decisions: a line each.

    Raises:
        InputError: what ``check_detects`` raises.
    """
    check_detects(run, false_alarms=false_alarms, fdr=fdr)
    p_values = [float(one.says["p_value"]) for one in predictions.found]
    columns = {FLAG: [p <= false_alarms for p in p_values]}
    if fdr is not None:
        columns[DISCOVERY] = (adjusted(p_values) <= fdr * (1 + 1e-12)).tolist()  # but for rounding
    found = [
        replace(one, says=one.says | {name: "anomaly" if flags[k] else "" for name, flags in columns.items()})
        for k, one in enumerate(predictions.found)
    ]
    return replace(predictions, found=tuple(found)), _notes(run, len(found), fdr)


def _notes(run: Run, files: int, fdr: float | None) -> tuple[str, ...]:
    """Of a catalogue in which a single anomaly could not be discovered."""
    calibrated = len(run.task.calibration)  # pyright: ignore[reportArgumentType]
    if fdr is None or fdr * (calibrated + 1) >= files:
        return ()
    least = math.ceil(files / (fdr * (calibrated + 1)))
    lost = f"fewer than {least:,} anomalies together are not discovered" if least <= files else "none can be discovered"
    return (
        f"with {calibrated:,} calibration images, no p-value is below {1 / (calibrated + 1):.2g}: among {files:,} "
        f"files, {lost} at {fdr:g}; for a single one there would have to be {math.ceil(files / fdr) - 1:,}: raise "
        "data.calibration, or of a folder give more files",
    )

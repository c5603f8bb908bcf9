"""What torchmetrics lacks, and intervals for what is reported."""

from arcformer.metrics.classification import ClassificationReport, ClassReport, classification_report
from arcformer.metrics.contrast import NTXent, nt_xent
from arcformer.metrics.detection import detection_report
from arcformer.metrics.intervals import (
    Estimate,
    bootstrap,
    clopper_pearson,
    from_rows,
    mean,
    rank_correlation,
    wilson,
)
from arcformer.metrics.likelihood import NegativeLogLikelihood
from arcformer.metrics.posterior import (
    CENTRAL,
    LEVELS,
    Flatness,
    IntervalCoverage,
    Tarp,
    coverage,
    flatness,
    ranks,
    sharpness,
    tails,
    tarp,
    within,
)
from arcformer.metrics.probes import LinearProbeAccuracy, LinearProbeAUROC, NeighbourAccuracy
from arcformer.metrics.representation import EffectiveRank, FeatureSpread

__all__ = [
    "CENTRAL",
    "LEVELS",
    "ClassReport",
    "ClassificationReport",
    "EffectiveRank",
    "Estimate",
    "FeatureSpread",
    "Flatness",
    "IntervalCoverage",
    "LinearProbeAUROC",
    "LinearProbeAccuracy",
    "NTXent",
    "NegativeLogLikelihood",
    "NeighbourAccuracy",
    "Tarp",
    "bootstrap",
    "classification_report",
    "clopper_pearson",
    "coverage",
    "detection_report",
    "flatness",
    "from_rows",
    "mean",
    "nt_xent",
    "rank_correlation",
    "ranks",
    "sharpness",
    "tails",
    "tarp",
    "wilson",
    "within",
]

"""What torchmetrics lacks, and intervals for what is reported."""

from arcformer.metrics.classification import ClassificationReport, ClassReport, classification_report
from arcformer.metrics.contrast import NTXent, nt_xent
from arcformer.metrics.detection import detection_report
from arcformer.metrics.images import ImageMean, data_range, flux_error, power, psnr, ssim
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
    "ImageMean",
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
    "data_range",
    "detection_report",
    "flatness",
    "flux_error",
    "from_rows",
    "mean",
    "nt_xent",
    "power",
    "psnr",
    "rank_correlation",
    "ranks",
    "sharpness",
    "ssim",
    "tails",
    "tarp",
    "wilson",
    "within",
]

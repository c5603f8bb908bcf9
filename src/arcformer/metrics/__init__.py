"""What torchmetrics lacks, and intervals for what is reported."""

from arcformer.metrics.classification import ClassificationReport, ClassReport, classification_report
from arcformer.metrics.contrast import NTXent, nt_xent
from arcformer.metrics.intervals import Estimate, bootstrap, from_rows, mean, wilson
from arcformer.metrics.likelihood import NegativeLogLikelihood
from arcformer.metrics.probes import LinearProbeAccuracy, LinearProbeAUROC, NeighbourAccuracy
from arcformer.metrics.representation import EffectiveRank, FeatureSpread

__all__ = [
    "ClassReport",
    "ClassificationReport",
    "EffectiveRank",
    "Estimate",
    "FeatureSpread",
    "LinearProbeAUROC",
    "LinearProbeAccuracy",
    "NTXent",
    "NegativeLogLikelihood",
    "NeighbourAccuracy",
    "bootstrap",
    "classification_report",
    "from_rows",
    "mean",
    "nt_xent",
    "wilson",
]

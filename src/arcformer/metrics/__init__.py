"""What torchmetrics lacks, and intervals for what is reported."""

from arcformer.metrics.classification import ClassificationReport, ClassReport, classification_report
from arcformer.metrics.intervals import Estimate, bootstrap, from_rows, mean, wilson
from arcformer.metrics.likelihood import NegativeLogLikelihood

__all__ = [
    "ClassReport",
    "ClassificationReport",
    "Estimate",
    "NegativeLogLikelihood",
    "bootstrap",
    "classification_report",
    "from_rows",
    "mean",
    "wilson",
]

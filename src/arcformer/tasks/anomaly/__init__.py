"""Detection of anomalies. Importing this package registers its task and its statistics."""

from arcformer.tasks.anomaly.conformal import box_plot, p_values, threshold
from arcformer.tasks.anomaly.detect import Detect, Detection
from arcformer.tasks.anomaly.mahalanobis import Mahalanobis
from arcformer.tasks.anomaly.reconstruction import Reconstructed
from arcformer.tasks.anomaly.statistic import STATISTICS, Scores, Statistic

__all__ = [
    "STATISTICS",
    "Detect",
    "Detection",
    "Mahalanobis",
    "Reconstructed",
    "Scores",
    "Statistic",
    "box_plot",
    "p_values",
    "threshold",
]

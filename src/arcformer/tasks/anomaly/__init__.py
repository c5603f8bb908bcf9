"""Detection of anomalies. Importing this package registers its task and its statistics."""

from arcformer.tasks.anomaly.conformal import box_plot, p_values, threshold
from arcformer.tasks.anomaly.detect import Detect, Detection
from arcformer.tasks.anomaly.distillation import Distilled
from arcformer.tasks.anomaly.features import FeatureStatistic
from arcformer.tasks.anomaly.flow import Flow
from arcformer.tasks.anomaly.knn import Nearest
from arcformer.tasks.anomaly.mahalanobis import Mahalanobis
from arcformer.tasks.anomaly.manifold import Manifold
from arcformer.tasks.anomaly.masked import Masked
from arcformer.tasks.anomaly.reconstruction import Reconstructed
from arcformer.tasks.anomaly.statistic import STATISTICS, Scores, Statistic

__all__ = [
    "STATISTICS",
    "Detect",
    "Detection",
    "Distilled",
    "FeatureStatistic",
    "Flow",
    "Mahalanobis",
    "Manifold",
    "Masked",
    "Nearest",
    "Reconstructed",
    "Scores",
    "Statistic",
    "box_plot",
    "p_values",
    "threshold",
]

"""What networks are trained for. Importing this package registers every task of the library."""

from arcformer.tasks import pretrain
from arcformer.tasks.anomaly import Detect, Detection
from arcformer.tasks.base import TASKS, Detector, Estimator, Prediction, Task, TaskMetrics
from arcformer.tasks.classify import Classify, ClassPrediction
from arcformer.tasks.regress import Posterior, Regress
from arcformer.tasks.superres import FineImage, SuperRes

__all__ = [
    "TASKS",
    "ClassPrediction",
    "Classify",
    "Detect",
    "Detection",
    "Detector",
    "Estimator",
    "FineImage",
    "Posterior",
    "Prediction",
    "Regress",
    "SuperRes",
    "Task",
    "TaskMetrics",
    "pretrain",
]

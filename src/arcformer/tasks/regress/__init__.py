"""Regression with posteriors: what values of parameters an image allows, and with which density."""

from arcformer.tasks.regress.heads import HEADS, FlowHead, GaussianHead, Head, PointHead
from arcformer.tasks.regress.posterior import Posterior
from arcformer.tasks.regress.task import Regress

__all__ = ["HEADS", "FlowHead", "GaussianHead", "Head", "PointHead", "Posterior", "Regress"]

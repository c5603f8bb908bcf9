"""Objectives of pretraining: a backbone is trained without labels. Importing this package registers them all."""

from arcformer.tasks.pretrain.dino import DINO
from arcformer.tasks.pretrain.draws import Draws
from arcformer.tasks.pretrain.jepa import JEPA
from arcformer.tasks.pretrain.mae import MAE
from arcformer.tasks.pretrain.objective import Features, Objective, Scored
from arcformer.tasks.pretrain.physics import Physics, SmoothLens
from arcformer.tasks.pretrain.reconstruction import FillsIn, Reconstruction
from arcformer.tasks.pretrain.simclr import SimCLR, TwoViews
from arcformer.tasks.pretrain.simmim import SimMIM
from arcformer.tasks.pretrain.views import Views

__all__ = [
    "DINO",
    "JEPA",
    "MAE",
    "Draws",
    "Features",
    "FillsIn",
    "Objective",
    "Physics",
    "Reconstruction",
    "Scored",
    "SimCLR",
    "SimMIM",
    "SmoothLens",
    "TwoViews",
    "Views",
]

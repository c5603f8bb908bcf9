"""The contract of a task: every registered one keeps it, and each way of breaking it is named."""

from __future__ import annotations

import runpy
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from arcformer.models.check import BrokenContract
from arcformer.tasks import TASKS, Classify, ClassPrediction, Prediction, Task, TaskMetrics
from arcformer.tasks.check import check_task

EXAMPLES = Path(__file__).parents[2] / "examples"


OPTIONS = {"regress": {"targets": ("theta_E_arcsec", "log10_axion_mass_eV")}}
"""Options of those that have no default for something."""


@pytest.mark.parametrize("name", list(TASKS))
def test_registered_tasks_keep_the_contract(name):
    check_task(TASKS.get(name), **OPTIONS.get(name, {}))


def test_classify_keeps_the_contract_with_every_option():
    check_task(Classify, label_smoothing=0.1, pool="attention", dropout=0.2)


def test_the_example_keeps_the_contract_in_twenty_lines():
    namespace = runpy.run_path(str(EXAMPLES / "own_task.py"), run_name="__main__")
    assert issubclass(namespace["Contains"], Task)
    text = (EXAMPLES / "own_task.py").read_text()
    body = text[text.index("class Contains") : text.index("if __name__")]
    assert len(body.strip().splitlines()) <= 20


class NoLoss(Classify):
    def loss(self, batch):
        return {"cross_entropy": super().loss(batch)["loss"]}


class VectorPart(Classify):
    def loss(self, batch):
        return super().loss(batch) | {"each": torch.zeros(len(batch))}


class IdleParameter(Classify):
    def __init__(self, backbone, classes):
        super().__init__(backbone, classes)
        self.idle = nn.Parameter(torch.zeros(2))


class FrozenByName(IdleParameter):
    """Sound: the idle parameter is said to be frozen."""

    def frozen_parameters(self):
        return [self.idle]


class NeverLearns(Classify):
    """Its gradient is that of the loss, turned round."""

    def loss(self, batch):
        loss = super().loss(batch)["loss"]
        return {"loss": 2 * loss.detach() - loss}


class OwnGenerator(Classify):
    def loss(self, batch):
        noise = torch.rand((), generator=torch.Generator().manual_seed(torch.seed()))
        return {"loss": super().loss(batch)["loss"] + noise}


@dataclass(frozen=True)
class Summary(Prediction):
    mean: Tensor


class Summarises(Classify):
    def predict(self, batch):
        return Summary(super().predict(batch).probabilities.mean(0))


class DropsInEvaluation(Classify):
    def predict(self, batch):
        made = super().predict(batch)
        return made.map(lambda x: x + torch.rand_like(x))


class PeeksAtLabels(Classify):
    def predict(self, batch):
        made = super().predict(batch)
        return made if batch.labels is None else made.map(lambda x: x + batch.labels[:, None])


class AveragesBatches(Classify):
    def metrics(self):
        return TaskMetrics({"auroc": MeanMetric()}, lambda made, batch: (made.probabilities[:, 0].mean(),))


class MonitorsNothing(Classify):
    monitor = ("auc", "max")


class PreparesWeights(Classify):
    def prepare(self, batches):
        with torch.no_grad():
            self.head.linear.bias.add_(1.0)


class PreparesAtRandom(Classify):
    def prepare(self, batches):
        self.temperature.fill_(1 + torch.rand(()))


class ForgetsTemperature(Classify):
    def calibrate(self, predictions, batches):
        self.scale = 2.0

    def predict(self, batch):
        made = super().predict(batch)
        return ClassPrediction(made.logits * getattr(self, "scale", 1.0), made.probabilities)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (NoLoss, '"loss" among them'),
        (VectorPart, "finite scalars.*each"),
        (IdleParameter, "every parameter that is not frozen.*idle"),
        (NeverLearns, "lower the loss"),
        (OwnGenerator, "the same loss"),
        (Summarises, "tensors that lead with B.*mean"),
        (DropsInEvaluation, "the same prediction"),
        (PeeksAtLabels, "does not look at truth"),
        (AveragesBatches, "are those over both as one"),
        (MonitorsNothing, "monitor names one of the metrics"),
        (PreparesWeights, r"buffers alone.*head\.linear\.bias was changed"),
        (PreparesAtRandom, "temperature differs from call to call"),
        (ForgetsTemperature, "saved as safetensors"),
    ],
)
def test_a_broken_clause_is_named(broken, words):
    with pytest.raises(BrokenContract, match=f"{broken.__name__} breaks the clause.*{words}"):
        check_task(broken)


def test_parameters_said_to_be_frozen_need_no_gradient():
    check_task(FrozenByName)

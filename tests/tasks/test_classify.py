"""Classification: its metrics against scikit-learn, its temperature, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sklearn import metrics as sklearn
from torch.nn import functional as F

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.models import VisionTransformer
from arcformer.tasks import Classify, ClassPrediction

CLASSES = ("no_sub", "cdm", "axion")


def classify(**options):
    return Classify(VisionTransformer(16, 1, dim=16, depth=1, heads=2), CLASSES, **options).eval()


def labelled(images=600, sharpness=1.0, seed=0):
    """Predictions, and batches of labels drawn from softmax(logits / sharpness): right at temperature ``sharpness``."""
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(images, 3, generator=rng)
    labels = torch.multinomial((logits / sharpness).softmax(1), 1, generator=rng)[:, 0]
    made = ClassPrediction(logits, logits.softmax(1))
    return made, LensBatch(torch.zeros(images, 1, 16, 16), labels=labels, classes=CLASSES)


def test_metrics_are_those_of_scikit_learn():
    made, batch = labelled()
    metrics = classify().metrics()
    for rows in (slice(0, 250), slice(250, 600)):
        metrics.update(made.map(lambda x, rows=rows: x[rows]), batch[rows])
    found = {name: value.item() for name, value in metrics.compute().items()}
    y, p = batch.labels.numpy(), made.probabilities.numpy()
    expected = {
        "auroc": sklearn.roc_auc_score(y, p, multi_class="ovr"),
        "accuracy": sklearn.accuracy_score(y, p.argmax(1)),
        "nll": sklearn.log_loss(y, p),
    }
    precision, recall, _, _ = sklearn.precision_recall_fscore_support(y, p.argmax(1))
    for k, name in enumerate(CLASSES):
        expected |= {f"precision/{name}": precision[k], f"recall/{name}": recall[k]}
    assert set(found) == {*expected, "ece"}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_temperature_is_found(sharpness):
    made, batch = labelled(images=20_000, sharpness=sharpness)
    task = classify()
    task.calibrate([made.map(lambda x: x[:5000]), made.map(lambda x: x[5000:])], [batch[:5000], batch[5000:]])
    assert task.temperature.item() == pytest.approx(sharpness, rel=0.05)


def test_calibrating_again_changes_nothing_and_no_choice_is_changed():
    task, images = classify(), torch.randn(600, 1, 16, 16)
    torch.nn.init.normal_(task.head.linear.weight)
    before = task.predict(LensBatch(images))
    labels = torch.multinomial((before.logits.detach() / 3).softmax(1), 1)[:, 0]
    batch = LensBatch(images, labels=labels, classes=CLASSES)
    task.calibrate([before], [batch])
    after, once = task.predict(batch), task.temperature.clone()
    assert once > 1.5
    assert F.cross_entropy(after.logits, labels) < F.cross_entropy(before.logits, labels)
    assert torch.equal(after.probabilities.argmax(1), before.probabilities.argmax(1))
    task.calibrate([after], [batch])
    torch.testing.assert_close(task.temperature, once, rtol=1e-3, atol=0)


def test_the_loss_is_of_uncalibrated_logits():
    task, batch = classify(), replace(labelled(8)[1], images=torch.randn(8, 1, 16, 16))
    before = task.loss(batch)["loss"]
    task.temperature.fill_(5.0)
    assert torch.equal(task.loss(batch)["loss"], before)


def test_predictions_are_collated():
    made, _ = labelled(10)
    parts = [made.map(lambda x: x[:4]), made.map(lambda x: x[4:])]
    whole = ClassPrediction.collate(parts)
    assert [len(part) for part in parts] == [4, 6]
    assert torch.equal(whole.logits, made.logits)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"labels": None}, "no labels"), ({"classes": ("cdm", "no_sub", "axion")}, "same classes in the same order")],
)
def test_labels_that_mean_something_else_are_refused(change, words):
    task, batch = classify(), replace(labelled(4)[1], **change)
    with pytest.raises(InputError, match=words):
        task.loss(batch)


def test_options_that_make_no_sense_are_refused():
    backbone = VisionTransformer(16, 1, dim=16, depth=1, heads=2)
    with pytest.raises(InputError, match="at least two classes"):
        Classify(backbone, ())
    with pytest.raises(InputError, match="label_smoothing"):
        Classify(backbone, CLASSES, label_smoothing=1.0)
    with pytest.raises(InputError, match="dropout"):
        Classify(backbone, CLASSES, dropout=-0.1)

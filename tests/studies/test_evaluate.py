import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score

from arcformer.batch import LensBatch
from arcformer.data.source import BatchSource
from arcformer.errors import InputError
from arcformer.studies.evaluate import evaluate
from arcformer.studies.evaluation import PICTURED


def test_numbers_are_those_of_scikit_learn(run, rings):
    batch = rings(120)
    found = evaluate(run, [batch], name="test")
    y, p = batch.labels.numpy(), run.task.probabilities(batch).double().numpy()
    np.testing.assert_allclose(found.probabilities, p)
    assert found.report.auc.value == pytest.approx(roc_auc_score(y, p, multi_class="ovr"))
    assert found.report.accuracy.value == pytest.approx((p.argmax(1) == y).mean())
    expected = f1_score(y, p.argmax(1), average=None)
    assert [found.f1[name].value for name in run.classes] == pytest.approx(list(expected))
    assert found.above_leaks.value == pytest.approx(found.report.auc.value - found.leaks.linear.value)


def test_every_estimate_lies_in_its_interval(run, rings):
    for name, estimate in evaluate(run, [rings(90)], name="test").estimates.items():
        assert estimate.low <= estimate.value <= estimate.high, name


def test_a_result_does_not_depend_on_how_the_images_come(run, rings, source):
    batch = rings(40)
    parts = source(batch[:7], batch[7:30], batch[30:])
    assert isinstance(parts, BatchSource)
    whole, split = evaluate(run, [batch], name="test"), evaluate(run, parts, name="test")
    assert whole.estimates == split.estimates
    assert whole.ids == split.ids == batch.ids
    torch.testing.assert_close(whole.pictured.images, split.pictured.images)


def test_few_images_are_kept_and_those_in_physical_units(run, rings):
    batch = rings(60)
    pictured = evaluate(run, [batch], name="test").pictured
    assert pictured.labels.bincount().tolist() == [PICTURED] * 3
    assert pictured.images.equal(batch.images[: 3 * PICTURED])
    assert pictured.images.untyped_storage().nbytes() == 4 * pictured.images.numel()  # the rest can be freed
    assert (pictured.unit, pictured.classes) == ("counts", run.classes)


def test_the_leak_audit_finds_what_was_planted(run, rings):
    honest, leaky = (evaluate(run, [rings(90, leak=leak)], name="test") for leak in (0.0, 1.0))
    assert leaky.leaks.linear.value > 0.97 > honest.leaks.linear.value
    assert leaky.above_leaks.high < 0 < honest.above_leaks.low


def test_the_network_sees_transformed_images(run, rings):
    seen = []
    run.task.probabilities = lambda batch: (seen.append(batch.images), torch.full((len(batch), 3), 1 / 3))[1]
    batch = rings(12)
    evaluate(run, [batch], name="test")
    assert seen[0].equal(run.transform(batch).images)


def test_json_rows_are_flat_and_strict(run, rings):
    rows = evaluate(run, [rings(30)], name="test").to_json()
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert {"auroc test", "leak_auroc test", "auroc_above_leak test", "f1_cdm test"} <= {row["name"] for row in rows}
    assert all(row.keys() >= {"name", "value", "unit"} for row in rows)


def test_a_class_without_images_leaves_no_audit_and_says_nothing_of_the_class(run, rings):
    batch = rings(30)
    found = evaluate(run, [batch[batch.labels != 2]], name="test")
    assert found.leaks is None
    assert found.above_leaks is None
    assert math.isnan(found.estimates["auroc"].value)
    json.dumps(found.to_json(), allow_nan=False)


def test_what_cannot_be_evaluated_is_refused(run, rings, source):
    batch = rings(6)
    with pytest.raises(InputError, match="needs an end"):
        evaluate(run, source(batch, end=False), name="test")
    with pytest.raises(InputError, match="there are no images"):
        evaluate(run, [], name="test")
    with pytest.raises(InputError, match="no labels"):
        evaluate(run, [LensBatch(batch.images)], name="test")
    with pytest.raises(InputError, match="cdm, no_sub, axion, in this order; the run knows no_sub, cdm, axion"):
        evaluate(run, [replace(batch, classes=("cdm", "no_sub", "axion"))], name="test")
    run.task.predict = lambda batch: SimpleNamespace(images=batch.images)
    with pytest.raises(InputError, match="predicts nothing that an evaluation can measure: neither probab"):
        evaluate(run, [batch], name="test")

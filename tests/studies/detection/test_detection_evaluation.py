"""Scores on images: what is measured, what it is compared with, what is known of the images, and what cannot be."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.covariance import LedoitWolf
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from arcformer.batch import LensBatch
from arcformer.data.sky import sky_rms
from arcformer.errors import InputError
from arcformer.studies import training_images
from arcformer.studies.detection.known import located, numbers_of, substructure_mask
from arcformer.studies.detection.trivial import fit_trivial
from arcformer.studies.evaluate import evaluate, told_by
from arcformer.studies.leaks import trivial_features
from arcformer.studies.oddities import ODDITIES
from arcformer.studies.results import _range


def test_numbers_are_those_of_scikit_learn(watching, lenses):
    run, batch = watching(), lenses(120)
    found = evaluate(run, [batch], name="test")
    scores, labels = run.task.seen(batch).double().numpy(), batch.labels.numpy()
    np.testing.assert_allclose(found.scores, scores)
    assert found.estimates["auroc"].value == pytest.approx(roc_auc_score(labels > 0, scores))
    assert found.estimates["ap"].value == pytest.approx(average_precision_score(labels > 0, scores))
    for k, name in ((1, "cdm"), (2, "axion")):
        rows = np.isin(labels, (0, k))
        area = roc_auc_score(labels[rows] > 0, scores[rows])
        assert found.estimates[f"auroc_{name}"].value == pytest.approx(area)
    normal = labels == 0
    assert found.estimates["false_alarms_5"].value == (found.p_values[normal] <= 0.05).mean()
    assert found.estimates["box_plot_recall"].value == (scores[~normal] > run.task.box_plot).mean()
    offset = torch.hypot(batch.extras["source_x"], batch.extras["source_y"]).numpy()[normal]
    expected = stats.spearmanr(scores[normal], offset).statistic
    assert found.estimates["spearman_source_offset"].value == pytest.approx(expected, abs=1e-6)
    weighed = found.weighed(found.of_each)(np.ones((1, len(found))))
    assert {name: values[0] for name, values in weighed.items()} == {
        name: pytest.approx(found.estimates[name].value) for name in weighed
    }


def test_a_result_does_not_depend_on_how_the_images_come(watching, lenses, source):
    run, batch = watching(), lenses(60)
    whole, split = (evaluate(run, [batch], name="test"), evaluate(run, source(batch[:17], batch[17:]), name="test"))
    of_maps = ("where_",)  # whose other image is the next one of the batch
    for name, estimate in whole.estimates.items():
        if not name.startswith(of_maps):
            assert split.estimates[name].value == pytest.approx(estimate.value, rel=1e-5, nan_ok=True), name
    assert whole.extremes.images.images.equal(split.extremes.images.images)


def test_every_number_lies_in_its_interval_and_in_its_range(watching, lenses):
    for name, estimate in evaluate(watching(), [lenses(90)], name="test").estimates.items():
        assert not estimate.low > estimate.value, name
        assert not estimate.high < estimate.value, name
        low, high = _range(name)
        assert low > -np.inf, name
        assert np.isnan(estimate.value) or low <= estimate.value <= high, name


def test_every_oddity_is_tried_and_what_is_bright_is_found(watching, lenses):
    found = evaluate(watching(lambda batch: batch.images.amax((1, 2, 3))), [lenses(90)], name="test")
    assert found.oddities.images.classes == tuple(ODDITIES)
    assert found.estimates["oddity_auroc_non_lenses"].value > 0.9
    assert found.estimates["oddity_auroc_cosmic_rays"].value > 0.7
    assert found.estimates["oddity_auroc_dead_columns"].value < 0.6
    assert not found.no_oddities


def test_of_images_that_are_not_simulated_only_marks_on_them_are_tried(watching, lenses):
    batch = replace(lenses(60), extras={}, ids=(), targets=None, target_names=())
    found = evaluate(watching(), [batch], name="test")
    assert set(found.oddities.images.classes) == {"cosmic_rays", "dead_columns", "satellite_trail"}
    assert found.no_oddities.keys() == set(ODDITIES) - set(found.oddities.images.classes)
    assert "spearman_log10_flux" in found.estimates
    assert "spearman_log10_peak" in found.estimates
    assert not found.curves
    assert "nobody knows where" in found.drawn()["where"]


def test_curves_are_of_what_only_a_class_has(watching, lenses):
    found = evaluate(watching(), [lenses(120)], name="test")
    panels = {(row["class"], row["of"]) for row in found.curves}
    assert panels == {("cdm", "substructure_mass"), ("cdm", "heaviest_mass"), ("axion", "vortex_half_length")}
    images = [row["images"] for row in found.curves if row["class"] == "axion"]
    assert sum(images) == 40
    for row in found.curves:
        assert row["low"] <= row["middle"] <= row["high"]
        assert row["recall_1"].value <= row["recall_5"].value
    assert json.loads(json.dumps(found.tables, allow_nan=False))["curves"][0]["recall_1"].keys() == {
        "value", "low", "high",
    }  # fmt: skip


def test_trivial_statistics_are_scikit_learns_and_see_no_test_image(lenses):
    training, test = trivial_features(lenses(90, seed=1, only=("no_sub",))), trivial_features(lenses(30))
    fitted = fit_trivial(training)
    scaler = StandardScaler().fit(training.numpy())
    theirs = LedoitWolf().fit(scaler.transform(training.numpy())).mahalanobis(scaler.transform(test.numpy())) ** 0.5
    np.testing.assert_allclose(fitted(test).scores["mahalanobis"], theirs)
    np.testing.assert_array_equal(fitted(test).scores["forest"][:7], fitted(test[:7]).scores["forest"])
    with pytest.raises(InputError, match="at least ten training images"):
        fit_trivial(training[:5])


def test_a_statistic_that_is_trivial_adds_nothing(watching, lenses):
    found = evaluate(watching(), [lenses(150)], name="test")
    assert found.trivial.images == 240
    assert "nothing in its result shows that it sees substructure" in found.drawn()["leaks"]
    labels = found.anomalous
    area = roc_auc_score(labels, found.scores) - roc_auc_score(labels, found.trivial.scores["mahalanobis"])
    assert found.estimates["above_mahalanobis_auroc"].value == pytest.approx(area)


def test_training_images_that_are_gone_leave_no_audit(watching, lenses, monkeypatch):
    def gone(*_):
        raise InputError("lenses: no such folder")

    run = watching()
    monkeypatch.setattr(training_images, "open_sources", gone)
    found = evaluate(run, [lenses(30)], name="test")
    assert found.trivial is None
    assert "lenses: no such folder" in found.drawn()["leaks"]
    assert "trivial" not in found.summary()


def test_noise_calibrated_by_its_like_is_found_to_keep_its_word(watching, lenses):
    def noise(batch: LensBatch) -> torch.Tensor:  # of the source's place alone, which no class knows of
        return sky_rms(batch.images)[:, 0]

    told = evaluate(watching(noise), [lenses(150, only=("no_sub",))], name="test").drawn()["promises"]
    assert told.count("as expected") == 3
    assert "are uniform" in told
    wrong = watching(noise)
    wrong.task.calibration = wrong.task.calibration / 2
    told = evaluate(wrong, [lenses(150, only=("no_sub",))], name="test").drawn()["promises"]
    assert "not as expected" in told
    assert "are not uniform" in told


def test_images_that_are_all_normal_or_all_odd_say_what_they_can(watching, lenses):
    run = watching()
    normal = evaluate(run, [lenses(40, only=("no_sub",))], name="test")
    odd = evaluate(run, [lenses(40, only=("cdm",))], name="odd")
    assert "auroc" not in normal.estimates.keys() | odd.estimates.keys()
    assert "all of them normal" in normal.summary()
    assert "none of them normal" in odd.summary()
    assert "flagged_1_cdm" in odd.estimates
    assert normal.drawn()["roc"] is odd.drawn()["roc"] is None
    both = evaluate(run, [lenses(60)], name="both")
    assert "false alarms at 5 %" in normal.agreement(both)
    assert both.agreement(both).endswith("The two agree within their uncertainty.")
    assert odd.agreement(both) == odd.summary()


def test_a_map_is_held_against_the_place_of_the_heaviest(lenses):
    batch = lenses(6, only=("cdm",))
    near = substructure_mask(batch.extras, (32, 32), batch.pixel_scale).numpy()
    x, y, mass = (batch.extras[f"point_{name}"].numpy() for name in ("x", "y", "mass"))
    at = (np.arange(32) - 15.5) * 0.101
    away = np.hypot(at[None, None, :, None] - y[:, :, None, None], at - x[:, :, None, None])
    heavy = mass >= 0.9 * mass.max(1, keepdims=True)
    np.testing.assert_array_equal(near, ((away <= 0.25) & heavy[:, :, None, None]).any(1))
    row = int(near.any((1, 2)).argmax())
    strong = near[row] + 0.01 * np.random.default_rng(0).random((32, 32))
    assert located(-strong, near[row]) == (1.0, 1.0)
    assert np.isnan(located(strong, np.zeros((32, 32), bool))[0])


def test_a_vortex_is_a_line(lenses, monkeypatch):
    from arcformer.sim.render import simulate

    batch = simulate("corrected/model-2", labels=["axion"] * 3, seed=2, pixels=32)
    near = substructure_mask(batch.extras, (32, 32), batch.pixel_scale)
    scale = float(batch.pixel_scale[0])
    for row in range(3):
        half, angle = (float(batch.extras[f"line_{name}"][row, 0]) for name in ("half_length", "angle"))
        middle = [float(batch.extras[f"line_{axis}"][row, 0]) for axis in "xy"]
        for share in (-0.99, 0.0, 0.99):
            column, line = (
                round((at + share * half * way) / scale + 15.5)
                for at, way in zip(middle, (np.cos(angle), np.sin(angle)), strict=True)
            )
            if 0 <= column < 32 and 0 <= line < 32:
                assert bool(near[row, line, column])
    assert substructure_mask({}, (32, 32), batch.pixel_scale) is None


def test_what_is_known_of_images_has_one_number_each(lenses):
    batch = lenses(9)
    known = numbers_of(batch, trivial_features(batch))
    assert all(values.shape == (9,) for values in known.values())
    assert np.isnan(known["substructure_mass"][batch.labels.numpy() == 0]).all()
    total = batch.extras["point_mass"].sum(1)[batch.labels == 2]
    np.testing.assert_allclose(known["substructure_mass"][batch.labels.numpy() == 2], total)
    blind = replace(batch, extras={})
    derived = {"source_offset", "log10_flux", "log10_peak"}
    assert set(numbers_of(blind, trivial_features(batch))) == {*batch.target_names, *derived}


def test_what_cannot_be_evaluated_is_refused(watching, lenses):
    batch = lenses(12)
    with pytest.raises(InputError, match="have no labels; to score unknown ones, use detect"):
        evaluate(watching(), [replace(batch, labels=None)], name="test")
    with pytest.raises(InputError, match="not all of the same classes"):
        evaluate(watching(), [batch, lenses(12, only=("no_sub",))], name="test")


def test_runs_are_compared_by_what_they_find():
    names = ["auroc", "recall_1", "recall_5", "false_alarms_1", "above_forest_auroc", "ap"]
    assert set(told_by(names)) == {"auroc", "recall_1", "recall_5", "false_alarms_1", "above_forest_auroc"}

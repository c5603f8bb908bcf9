"""Posteriors on images: what is measured, what it is compared with, and what cannot be."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.studies import training_images
from arcformer.studies.evaluate import KINDS, evaluate, told_by
from arcformer.studies.results import _range


def test_numbers_are_those_of_the_posteriors(measured):
    run, batch = measured(120)
    found = evaluate(run, [batch], name="test")
    said = run.task.predict(batch)
    off = (said.mean - batch.targets).numpy()
    for k, name in enumerate(run.task.targets):
        assert found.estimates[f"mae_{name}"].value == pytest.approx(np.abs(off[:, k]).mean(), rel=1e-5)
    assert found.estimates["nll"].value == pytest.approx(
        -float(run.task.log_prob(said, batch.targets).mean()), rel=1e-5
    )
    assert found.unit("mae_theta_E") == found.unit("boosted_mae_theta_E") == "arcsec"
    assert found.unit("bias_log10_flux") == "dex"
    assert found.unit("r2_theta_E") == found.unit("nll") == ""


def test_a_result_does_not_depend_on_how_the_images_come(measured, source):
    run, batch = measured(60)
    whole, split = (evaluate(run, [batch], name="test"), evaluate(run, source(batch[:7], batch[7:]), name="test"))
    assert whole.ids == split.ids == batch.ids
    for name, estimate in whole.estimates.items():
        assert split.estimates[name].value == pytest.approx(estimate.value, rel=1e-4, abs=1e-6), name


def test_every_number_lies_in_its_interval_and_in_its_range(measured):
    run, batch = measured(90)
    for name, estimate in evaluate(run, [batch], name="test").estimates.items():
        assert not estimate.low > estimate.value, name
        assert not estimate.high < estimate.value, name
        low, high = _range(name)
        assert low <= estimate.value <= high, name


def test_exact_posteriors_are_believed_and_narrow_ones_are_not(measured):
    run, batch = measured(400)
    assert "too narrow" not in evaluate(run, [batch], name="test").drawn()["calibration"]
    run, batch = measured(400, honest=0.5)
    told = evaluate(run, [batch], name="test").drawn()["calibration"]
    assert told.count("too narrow") == told.count("not flat") == 2


def test_what_trivial_features_show_needs_no_network(measured):
    run, batch = measured(300)
    found = evaluate(run, [batch], name="test")
    numbers = found.estimates
    assert numbers["below_boosted_mae_log10_flux"].high < 0  # of the flux, trees see all
    assert numbers["below_linear_mae_theta_E"].low > 0  # which no image shows
    assert numbers["linear_mae_theta_E"].value == pytest.approx(numbers["prior_mae_theta_E"].value, rel=0.1)
    verdict = found.drawn()["verdict"]
    assert "For log10_flux, the network stays behind the boosted trees" in verdict
    assert "For theta_E, the network's error is +" in verdict
    assert found.baseline.images == 240


def test_training_images_that_are_gone_leave_no_baseline(measured, monkeypatch):
    def gone(*_):
        raise InputError("lenses: no such folder")

    run, batch = measured(40)
    monkeypatch.setattr(training_images, "open_sources", gone)
    found = evaluate(run, [batch], name="test")
    assert found.baseline is None
    assert "lenses: no such folder" in found.drawn()["verdict"]
    assert not [name for name in found.estimates if "linear" in name]
    assert "linear model" not in found.summary()


def test_of_a_handful_of_images_no_ranks_are_tested(measured):
    run, batch = measured(8)
    found = evaluate(run, [batch], name="test")
    assert np.isnan(found.estimates["sbc_p_theta_E"].value)
    told = found.drawn()
    assert told["calibration"].count("of so few images no ranks are tested") == 2
    assert told["bins"] == 2


def test_json_is_flat_and_strict(measured):
    run, batch = measured(40)
    found = evaluate(run, [batch], name="test")
    rows = found.to_json()
    assert json.loads(json.dumps([rows, found.tables], allow_nan=False)) == [rows, found.tables]
    assert {"mae_theta_E test", "coverage_68_log10_flux test", "sbc_p_theta_E test"} <= {row["name"] for row in rows}
    assert {row["unit"] for row in rows} == {"", "arcsec", "dex", "images/s"}
    assert sum(row["images"] for row in found.tables["bins_theta_E"]) == 40


def test_agreement_is_judged_by_errors_and_by_coverage(measured):
    run, batch = measured(300)
    first = evaluate(run, [batch[:150]], name="test", about="some rings")
    again = evaluate(run, [batch[150:]], name="other", about="others")
    assert "2 of 4" not in again.agreement(first)
    assert again.agreement(again).endswith("The two agree within their uncertainty.")
    run.task.honest = 0.3
    narrow = evaluate(run, [batch[150:]], name="other", about="others")
    assert "In 2 of 4 numbers the two differ by more than their uncertainty" in narrow.agreement(first)


def test_what_cannot_be_evaluated_is_refused(measured):
    run, batch = measured(12)
    names = ("theta_e", "log10_flux")
    cases = {
        "do not have theta_E, which the run predicts; they have no targets": LensBatch(batch.images, ids=batch.ids),
        "do not have theta_E.*did you mean 'theta_e'": replace(batch, target_names=names),
        "the images have flux, and the run predicts log10_flux": replace(batch, target_names=("theta_E", "flux")),
        "ring-0-1, of class cdm has no theta_E": replace(
            batch, targets=batch.targets.index_fill(0, torch.tensor([1]), torch.nan)
        ),
    }
    for said, images in cases.items():
        with pytest.raises(InputError, match=said):
            evaluate(run, [images], name="test")


def test_every_kind_is_known_by_other_fields_and_says_what_runs_are_compared_by():
    assert len({kind.fields for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        assert kind.evaluation.columns
        assert kind.evaluation.part.endswith(".html.jinja")


def test_runs_are_compared_by_the_numbers_of_their_kind():
    classes = ["leak_auroc", "nll", "auroc", "accuracy", "auroc_cdm"]
    masses = ["nll", "rmse_a", "mae_a", "mae_b", "coverage_68_a", "median_mae_a", "below_linear_mae_a"]
    assert told_by(classes) == ["auroc", "accuracy"]
    assert told_by(masses) == ["mae_a", "mae_b", "below_linear_mae_a", "coverage_68_a", "nll"]
    assert told_by(["validation_nll", "validation_mae/a"]) == ["validation_mae/a", "validation_nll"]
    assert told_by(["loss", "rank"]) == []

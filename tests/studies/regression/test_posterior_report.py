"""The report of a regression: every number of the JSON is in the page, and figures show what they say."""

from __future__ import annotations

import base64
import json
import re
from html import unescape
from xml.etree import ElementTree

import numpy as np
import pytest

from arcformer.metrics import Estimate
from arcformer.studies.evaluate import evaluate
from arcformer.studies.regression import figures
from arcformer.studies.regression.evaluation import MASS
from arcformer.studies.report import PredictedImage, write_report
from arcformer.studies.sentences import with_interval


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", page)))


def test_every_number_of_the_json_is_in_the_page(measured, tmp_path):
    run, batch = measured(90)
    evaluations = [evaluate(run, [batch[:60]], name="test"), evaluate(run, [batch[60:]], name="other")]
    sighting = PredictedImage("J0252.fits", {"theta_E": 1.234, "theta_E_low": 1.1, "theta_E_high": 1.3}, ["odd"])
    html, numbers = write_report(tmp_path / "out", run, evaluations, [sighting])
    page, stored = html.read_text(), json.loads(numbers.read_text())
    text = text_of(page)
    for name, number in stored.items():
        if name not in ("facts", "run", "tables"):
            ends = {end: np.nan if number[end] is None else number[end] for end in ("value", "low", "high")}
            assert with_interval(Estimate(**ends)) in text, name
    assert {"mae_theta_E", "other_mae_theta_E"} <= stored.keys()
    assert {"bins_theta_E", "other_bins_log10_flux"} <= stored["tables"].keys()
    for said in (
        "J0252.fits",
        "1.234",
        "theta_E_low",
        "Lens and dark matter parameters on deeplense/model-1",
        "240 of",
    ):
        assert said in text, said
    for source in re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', page):
        ElementTree.fromstring(base64.b64decode(source))


def test_a_report_without_training_images_says_so(measured, monkeypatch, tmp_path):
    run, batch = measured(30)
    found = evaluate(run, [batch], name="test")
    bare = type(found)(**vars(found) | {"baseline": None, "no_baseline": "the folder is gone"})
    html, _ = write_report(tmp_path / "out", run, [bare])
    assert "There is nothing to compare with: the folder is gone." in text_of(html.read_text())


@pytest.fixture
def evaluation(measured):
    run, batch = measured(60)
    return evaluate(run, [batch], name="test")


def test_each_target_has_its_panel_with_its_points(evaluation):
    upper = [axes for axes in figures.predicted(evaluation).axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in upper] == list(evaluation.targets)
    assert len(upper[0].lines[1].get_xdata()) == len(evaluation)


def test_coverage_runs_from_nothing_to_all_for_each_target_and_all_together(evaluation):
    curves = [line for line in figures.coverage(evaluation).axes[0].lines if not line.get_label().startswith("_")]
    assert [line.get_label() for line in curves] == [*evaluation.targets, "all together, TARP"]
    for line in curves:
        assert np.all(np.diff(line.get_ydata()) >= 0)
        assert line.get_ydata()[-1] == 1


def test_ranks_count_every_image(evaluation):
    for axes in figures.ranks(evaluation).axes:
        assert axes.patches[0].get_data().values.sum() == len(evaluation)


def test_a_corner_plot_has_a_panel_for_every_pair(evaluation):
    drawn = figures.corner_plot(evaluation, image=3)
    assert sum(axes.get_visible() for axes in drawn.axes) >= 3
    single = type(evaluation)(**vars(evaluation) | {"targets": ("theta_E",)})
    assert figures.corner_plot(single).axes


def test_without_an_axion_mass_nothing_is_said_of_vortices(evaluation, tmp_path):
    assert MASS not in evaluation.targets
    assert evaluation.against_length == []
    assert evaluation.drawn()["lengths"] is None

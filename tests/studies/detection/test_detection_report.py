"""The report of a detection: every number of the JSON is in the page, and figures can be read."""

from __future__ import annotations

import base64
import json
import re
from html import unescape
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np

from arcformer.metrics import Estimate
from arcformer.studies.detection import figures
from arcformer.studies.detection.sentences import promises
from arcformer.studies.evaluate import evaluate
from arcformer.studies.report import write_report
from arcformer.studies.sentences import with_interval


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", page)))


def test_every_number_of_the_json_is_in_the_page(watching, lenses, tmp_path):
    run = watching()
    evaluations = [
        evaluate(run, [lenses(90)], name="test"),
        evaluate(run, [lenses(40, seed=3, only=("no_sub",))], name="other"),
    ]
    html, numbers = write_report(tmp_path / "out", run, evaluations)
    page, stored = html.read_text(), json.loads(numbers.read_text())
    text = text_of(page)
    for name, number in stored.items():
        if name not in ("facts", "run", "tables"):
            ends = {end: np.nan if number[end] is None else number[end] for end in ("value", "low", "high")}
            assert with_interval(Estimate(**ends)) in text, name
    assert {"auroc", "recall_1", "other_false_alarms_1", "oddity_auroc_wrong_psf"} <= stored.keys()
    assert stored["tables"]["curves"]
    for said in ("Anomalies on deeplense/model-2", "Leak audit", "240 of", "cosmic_rays"):
        assert said in text, said
    for source in re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', page):
        ElementTree.fromstring(base64.b64decode(source))


def test_a_run_without_maps_has_none(watching, lenses, tmp_path):
    found = evaluate(watching(mapped=False), [lenses(30)], name="test")
    assert len(figures.pictured(found.extremes).axes) < len(
        figures.pictured(evaluate(watching(), [lenses(30)], name="test").extremes).axes
    )
    assert "no map" in found.drawn()["where"]


def test_too_few_calibration_scores_are_no_promise_kept():
    few = {f"false_alarms_{rate}": Estimate(0.0, 0.0, 0.1) for rate in (1, 5, 10)} | {"uniform_p": Estimate(0.5, 0, 1)}
    told = promises(SimpleNamespace(found=few, anomalous=np.zeros(40, bool), calibration=9))
    assert told.count("says nothing: 9 calibration scores cannot tell this rate") == 2
    assert "99 could" in told
    assert "19 could" in told
    assert told.count("expected (") == 1


def test_curves_have_a_panel_each(watching, lenses):
    found = evaluate(watching(), [lenses(120)], name="test")
    shown = [axes for axes in figures.curves(found).axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == ["cdm", "cdm", "axion"]
    assert shown[2].get_xlabel() == "vortex_half_length, arcsec"

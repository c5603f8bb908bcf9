import base64
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from markupsafe import escape

from arcformer.errors import InputError
from arcformer.metrics import Estimate
from arcformer.studies.evaluate import evaluate
from arcformer.studies.pictures import portrait
from arcformer.studies.report import PredictedImage, write_report
from arcformer.studies.sentences import with_interval
from arcformer.studies.style import png_uri

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Tags with their attributes, and whether they close in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def evaluations(run, rings):
    test = evaluate(run, [rings(60, leak=0.2)], name="test", about="60 rings")
    return [test, evaluate(run, [rings(30, seed=1)], name="reference", about="30 rings from <elsewhere>")]


@pytest.fixture
def sighting(rings):
    picture = base64.b64decode(png_uri(portrait(rings(1))).partition(",")[2])
    return PredictedImage(
        "J0252.fits", {"no_sub": 0.1, "cdm": 0.7, "axion": 0.2}, ["finer pixels than in training"], picture
    )


def test_the_page_needs_nothing_but_itself(run, evaluations, sighting, tmp_path):
    html, _ = write_report(tmp_path / "out", run, evaluations, [sighting])
    page = Page(html.read_text())
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    sources = [attributes["src"] for _, attributes in page.tags if "src" in attributes]
    assert (
        len(sources) == 10
    )  # for each evaluation grid, ROC, confusion, reliability; learning curve; a telescope image
    assert all(source.startswith("data:image/") for source in sources)
    assert all(attributes["href"].startswith("#") for _, attributes in page.tags if "href" in attributes)
    assert "url(" not in html.read_text()
    for source in sources:
        content = base64.b64decode(source.partition(",")[2], validate=True)
        if source.startswith("data:image/svg"):
            ElementTree.fromstring(content)
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {attributes["href"][1:] for _, attributes in page.tags if "href" in attributes} <= targets


def test_every_number_of_the_json_is_in_the_page_with_its_interval(run, evaluations, tmp_path):
    html, numbers = write_report(tmp_path, run, evaluations)
    text = re.sub(r"\s+", " ", Page(html.read_text()).text)
    found = {
        name: Estimate(**value)
        for name, value in json.loads(numbers.read_text()).items()
        if name not in ("facts", "run")
    }
    assert {"auroc", "leak_auroc", "auroc_above_leak", "accuracy", "reference_accuracy", "recall_cdm"} <= found.keys()
    for name, estimate in found.items():
        assert estimate.low <= estimate.value <= estimate.high, name
        assert with_interval(estimate) in text, name


def test_the_page_tells_what_a_reader_has_to_know(run, evaluations, sighting, tmp_path):
    html, _ = write_report(tmp_path, run, evaluations, [sighting], command="arcformer evaluate run")
    text = Page(html.read_text()).text
    for expected in (
        "deeplense/model-1", "luminosity distances", "DeepLenseSim a0c0191", "60 rings", "centroid offset", "agree",
        "J0252.fits", "finer pixels than in training", "0.700", "1,280", "12 s", "arcformer evaluate run", "[data]",
    ):  # fmt: skip
        assert expected in text, expected


def test_what_comes_from_outside_is_escaped(run, evaluations, tmp_path):
    nasty = "<script>alert('x')</script>"
    run.metrics["device"] = nasty
    (run.folder / "config.toml").write_text(f"# {nasty}")
    image = PredictedImage(nasty, {"cdm": 1.0}, [nasty])
    html, _ = write_report(tmp_path, run, evaluations, [image], command=nasty)
    assert nasty not in html.read_text()
    assert html.read_text().count(str(escape(nasty))) == 5
    assert "<elsewhere>" not in html.read_text()


def test_the_report_of_a_run_may_be_written_again_but_not_over_another(run, evaluations, tmp_path):
    html, numbers = write_report(tmp_path, run, evaluations)
    before = json.loads(numbers.read_text())
    write_report(tmp_path, run, evaluations[:1])
    assert "reference_accuracy" in before
    assert "reference_accuracy" not in json.loads(numbers.read_text())
    kept = html.read_text()
    (run.folder / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(InputError, match="not of this run"):
        write_report(tmp_path, run, evaluations)
    assert html.read_text() == kept


@pytest.mark.parametrize("content", ["", "[]", '{"validation": {}}'])
def test_other_peoples_files_are_not_overwritten(run, evaluations, tmp_path, content):
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(InputError, match="nothing is overwritten"):
        write_report(tmp_path, run, evaluations)
    assert (tmp_path / "metrics.json").read_text() == content


def test_a_report_needs_results_of_different_names(run, evaluations, tmp_path):
    for wrong in ([], [evaluations[0]] * 2):
        with pytest.raises(InputError, match="each with a name of its own"):
            write_report(tmp_path, run, wrong)


def test_a_run_of_which_little_is_known_has_a_report(run, rings, tmp_path):
    run.metrics = {}
    (run.folder / "log.jsonl").unlink()
    batch = rings(30)
    html, numbers = write_report(tmp_path, run, [evaluate(run, [batch[batch.labels != 2]], name="test")])
    assert "no audit" in Page(html.read_text()).text
    assert json.loads(numbers.read_text())["auroc"] == {"value": None, "low": None, "high": None}

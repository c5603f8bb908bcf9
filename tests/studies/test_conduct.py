"""The runs of a study: each done once, whatever becomes of the others, and told in tables."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import socket
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import SoftFileLock

from arcformer.errors import InputError
from arcformer.studies import conduct
from arcformer.studies.place import outcomes, places
from arcformer.studies.plan import plan
from arcformer.studies.study import Study, read
from arcformer.tasks import TASKS
from arcformer.training import load

TEXT = """
[run]
data = {preset = "deeplense/model-2", pixels = 24, validation = 24, workers = 0}
backbone = {name = "vit", size = "tiny", depth = 1, patch = 8}
[run.training]
steps = 4
batch_size = 12
precision = "32"
evaluate_every = 2
save_every = 2
log_every = 1
accelerator = "cpu"
[axes]
family = [
  {label = "ViT", training.batch_size = 9},
  {label = "faulty", training.strategy = "none"},
  {label = "other", backbone.patch = 4},
]
seed = [1]
[[grid]]
family = ["ViT"]
seed = [2, 3]
[test]
count = 30
[reach]
value = 0.0
"""


def studied(folder: Path, text: str = TEXT) -> Study:
    (folder / "tiny.toml").write_text(text)
    return read(folder / "tiny.toml")


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCFORMER_EAGER", "1")


@pytest.fixture(scope="module")
def conducted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the study above, done; not to be written to."""
    folder = tmp_path_factory.mktemp("conducted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCFORMER_EAGER", "1")
        conduct.run(studied(folder), folder / "tiny", quiet=True)
    return folder / "tiny"


@pytest.fixture
def done(conducted: Path, tmp_path: Path) -> Path:
    """A copy of it, to go on with."""
    return Path(shutil.copytree(conducted, tmp_path / "tiny"))


def states(study: Study, out: Path) -> dict[str, str]:
    return {outcome.planned.label: outcome.state for outcome in outcomes(study, plan(study), out)}


def test_a_run_that_fails_is_told_with_its_reason_and_the_others_are_done(conducted, tmp_path):
    found = outcomes(studied(tmp_path), plan(studied(tmp_path)), conducted)
    assert [outcome.state for outcome in found] == ["done", "failed", "done", "done", "done"]
    assert "strategy: " in found[1].note
    assert not list(conducted.rglob("claim"))


def test_all_runs_see_the_same_test_images(conducted, monkeypatch, tmp_path):
    seen, evaluate = [], conduct.evaluate

    def noted(run, images, **how):
        seen.append([ids for k in range(images.batches) for ids in images.batch(k).ids])
        return evaluate(run, images, **how)

    monkeypatch.setattr(conduct, "evaluate", noted)
    study = studied(tmp_path)
    for place in places(study, plan(study), conducted)[::2]:  # of different batch sizes
        conduct._test(load(place.run), study.test, tmp_path / "test.json")
    assert len(seen[0]) == 30
    assert seen[0] == seen[1] == seen[2]


def test_the_tables(conducted):
    rows = list(csv.DictReader((conducted / "results.csv").open()))
    assert [(row["family"], row["seed"], row["state"]) for row in rows] == [
        ("ViT", "1", "done"), ("faulty", "1", "failed"), ("other", "1", "done"),
        ("ViT", "2", "done"), ("ViT", "3", "done"),
    ]  # fmt: skip
    vit = rows[0]
    kept = json.loads((conducted / "runs" / vit["folder"] / "run" / "metrics.json").read_text())
    for name in ("parameters", "images_seen", "images_per_second", "seconds", "device"):
        assert vit[name] == str(kept[name])
    assert float(vit["auroc_low"]) <= float(vit["auroc"]) <= float(vit["auroc_high"])
    assert vit["images_to_auroc_0"] == "18"  # the first validation is after two steps of nine
    assert rows[1]["auroc"] == ""
    assert "strategy: " in rows[1]["note"]

    (cell,) = csv.DictReader((conducted / "seeds.csv").open())
    values = [float(row["auroc"]) for row in rows if row["family"] == "ViT"]
    assert (cell["family"], cell["seeds"]) == ("ViT", "3")
    assert float(cell["auroc"]) == pytest.approx(statistics.mean(values))
    assert float(cell["auroc_sd"]) == pytest.approx(statistics.stdev(values))
    half = 4.302652729911275 * statistics.stdev(values) / 3**0.5  # the quantile .975 of t with 2 degrees of freedom
    assert float(cell["auroc_high"]) == pytest.approx(min(1.0, statistics.mean(values) + half))
    assert float(cell["auroc_low"]) == pytest.approx(max(0.0, statistics.mean(values) - half))
    nlls = [float(row["nll"]) for row in rows if row["family"] == "ViT"]
    half = 4.302652729911275 * statistics.stdev(nlls) / 3**0.5
    assert float(cell["nll_high"]) == pytest.approx(statistics.mean(nlls) + half)  # which has no upper end

    flat = {row["name"]: row for row in json.loads((conducted / "results.json").read_text())}
    assert flat["auroc deeplense/model-2 ViT, seed 1"]["value"] == float(vit["auroc"])
    assert flat["images_to_auroc_0 deeplense/model-2 other, seed 1"]["unit"] == "images"
    assert flat["auroc_mean deeplense/model-2 ViT, 3 seeds"]["value"] == float(cell["auroc"])
    assert {"name", "value", "unit"} <= set.intersection(*(set(row) for row in flat.values()))


def test_nothing_is_done_twice_and_a_study_may_grow(done, tmp_path, trained):
    conduct.run(studied(tmp_path), done, quiet=True)
    assert trained == []
    grown = TEXT.replace("seed = [2, 3]", "seed = [2, 3, 4]").replace(
        '"other", backbone', '"by another name", backbone'
    )
    found = conduct.run(studied(tmp_path, grown), done, quiet=True)
    assert trained == ["vit-seed-4"]
    assert [outcome.state for outcome in found].count("done") == 5


def test_another_test_needs_no_other_training(done, tmp_path, trained):
    found = conduct.run(studied(tmp_path, TEXT.replace("count = 30", "count = 33")), done, quiet=True)
    assert trained == []
    assert [outcome.state for outcome in found].count("done") == 4
    assert len(list(done.rglob("test-*.json"))) == 8


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError("of 9 TB"), "out of memory: of 9 TB"),
        (RuntimeError("a kernel\nfailed"), "RuntimeError: a kernel"),
        (ValueError(), "ValueError"),
        (InputError("the loss is nan:\n  lower the rate"), "the loss is nan: lower the rate"),
    ],
)
def test_a_run_may_fail_of_anything(tmp_path, monkeypatch, error, reason):
    def failing(*_, **__):
        raise error

    monkeypatch.setattr(conduct, "fit", failing)
    lines: list[str] = []
    (found,) = conduct.run(Study(), tmp_path / "out", tell=lines.append)
    assert (found.state, found.note) == ("failed", reason)
    assert lines == ["1 of 1: base", f"  failed: {reason}"]
    assert "in failing" in json.loads(found.place.failure.read_text())["traceback"]


def test_a_failed_run_is_done_again_when_asked(done, tmp_path, trained):
    study = studied(tmp_path)
    place = places(study, plan(study), done)[0]
    shutil.rmtree(place.run)
    place.failure.write_text('{"reason": "the disk was full"}')
    assert states(study, done)["ViT, seed 1"] == "failed"
    conduct.run(study, done, quiet=True)
    assert trained == []
    assert conduct.run(study, done, quiet=True, retry=True)[0].state == "done"
    assert trained == ["vit-seed-1", "faulty-seed-1"]


def test_an_interrupted_run_goes_on_and_ends_the_same(done, tmp_path, monkeypatch):
    study = studied(tmp_path)
    place = places(study, plan(study), done)[2]
    weights = (place.run / "model.safetensors").read_bytes()
    shutil.rmtree(place.folder)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            stop = lambda _, step: step == 3 and signal.raise_signal(signal.SIGINT)  # noqa: E731
            patch.setattr(TASKS.get("classify"), "after_step", stop)
            with pytest.raises(KeyboardInterrupt):
                conduct.run(study, done, quiet=True)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert states(study, done)["other, seed 1"] == "begun"
    assert not place.claim.exists()
    assert conduct.run(study, done, quiet=True)[2].state == "done"
    assert (place.run / "model.safetensors").read_bytes() == weights


def test_a_run_that_another_process_does_is_passed_over(done, tmp_path, trained):
    study = studied(tmp_path)
    place = places(study, plan(study), done)[0]
    shutil.rmtree(place.run)
    with SoftFileLock(place.claim):
        found = conduct.run(study, done, quiet=True)
        assert found[0].state == "claimed"
        assert f"remove {place.claim}" in found[0].note
    assert trained == []


def test_the_claim_of_a_process_that_is_gone_is_taken_over(done, tmp_path, trained):
    study = studied(tmp_path)
    place = places(study, plan(study), done)[0]
    shutil.rmtree(place.run)
    code = f"import os, filelock; held = filelock.SoftFileLock({str(place.claim)!r}); held.acquire(); os._exit(9)"
    subprocess.run([sys.executable, "-c", code])
    assert socket.gethostname() in place.claim.read_text()
    assert conduct.run(study, done, quiet=True)[0].state == "done"
    assert trained == ["vit-seed-1"]


def test_nothing_else_is_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.csv").write_text("years of work")
    with pytest.raises(InputError, match=r"holds no tiny\.toml"):
        conduct.run(studied(tmp_path), tmp_path / "out", quiet=True)
    with pytest.raises(InputError, match="is a file"):
        conduct.run(studied(tmp_path), tmp_path / "out" / "results.csv", quiet=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.csv"]


def test_a_folder_of_other_runs_is_not_taken_over(done, tmp_path):
    before = (done / "results.csv").read_text()
    with pytest.raises(InputError, match=r"holds a study with run.training.steps = 4, here it is 5"):
        conduct.run(studied(tmp_path, TEXT.replace("steps = 4", "steps = 5")), done)
    assert (done / "results.csv").read_text() == before


def test_the_table_of_seeds_goes_when_there_are_none(done, tmp_path, trained):
    assert (done / "seeds.csv").exists()
    conduct.run(studied(tmp_path, TEXT.replace("seed = [2, 3]", "seed = [1]")), done)
    assert trained == []
    assert not (done / "seeds.csv").exists()

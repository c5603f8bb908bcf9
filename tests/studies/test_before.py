"""Runs of a study that begin with another run of it, which is trained once, first, and by one process."""

from __future__ import annotations

import csv
import json
import shutil
import threading
from pathlib import Path

import pytest
import torch
from filelock import SoftFileLock

from arcformer.errors import InputError
from arcformer.studies import conduct
from arcformer.studies.place import outcomes, places
from arcformer.studies.plan import plan
from arcformer.studies.study import Study, read
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
[before.halos]
data.preset = "deeplense/binary"
training.steps = 3
[before.longer]
init = "halos"
training.steps = 5
[before.unused]
seed = 9
[axes]
method = [
  {label = "scratch"},
  {label = "probe", init = "halos", training.freeze = true},
  {label = "fine", init = "longer", training.layer_decay = 0.5},
]
data.labels = [5]
[test]
count = 30
"""


def studied(folder: Path, text: str = TEXT) -> Study:
    (folder / "tiny.toml").write_text(text)
    return read(folder / "tiny.toml")


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCFORMER_EAGER", "1")
    monkeypatch.setattr(conduct, "PAUSE", 0.05)


@pytest.fixture(scope="module")
def conducted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the study above, done; not to be written to."""
    folder = tmp_path_factory.mktemp("before")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCFORMER_EAGER", "1")
        conduct.run(studied(folder), folder / "tiny", quiet=True)
    return folder / "tiny"


def states(study: Study, out: Path) -> dict[str, str]:
    return {outcome.planned.label: outcome.state for outcome in outcomes(study, plan(study), out)}


def labels(text: str, tmp_path: Path) -> list[str]:
    return [one.label for one in plan(studied(tmp_path, text))]


def test_what_others_begin_with_comes_first_and_only_what_is_needed(tmp_path):
    assert labels(TEXT, tmp_path) == ["halos", "longer", "scratch, labels 5", "probe, labels 5", "fine, labels 5"]
    assert labels(TEXT.replace('init = "longer", ', ""), tmp_path)[:2] == ["halos", "scratch, labels 5"]


def test_runs_begin_with_the_weights_of_the_others(conducted, tmp_path):
    study = studied(tmp_path)
    planned = plan(study)
    assert set(states(study, conducted).values()) == {"done"}
    where = {one.label: place.run for one, place in zip(planned, places(study, planned, conducted), strict=True)}
    halos, probe = (load(where[label]).task.backbone.state_dict() for label in ("halos", "probe, labels 5"))
    assert all(torch.equal(halos[name], probe[name]) for name in halos)
    assert load(where["longer"]).metrics["start"]["run"] == str(where["halos"])
    assert load(where["fine, labels 5"]).metrics["start"]["run"] == str(where["longer"])
    assert not list(where["halos"].parent.glob("test-*"))


def test_the_table_tells_what_was_spent_before(conducted):
    rows = {row["method"]: row for row in csv.DictReader((conducted / "results.csv").open())}
    assert rows["before: halos"]["auroc"] == rows["scratch"]["seconds_before"] == ""
    seconds = [float(rows[f"before: {name}"]["seconds"]) for name in ("halos", "longer")]
    assert float(rows["probe"]["seconds_before"]) == pytest.approx(seconds[0])
    assert float(rows["fine"]["seconds_before"]) == pytest.approx(sum(seconds))
    assert float(rows["fine"]["images_seen_before"]) == 12 * (3 + 5)
    assert all(rows[name]["auroc_low"] for name in ("scratch", "probe", "fine"))


def test_nothing_is_done_twice_even_in_another_place(conducted, trained, tmp_path):
    moved = Path(shutil.copytree(conducted, tmp_path / "elsewhere"))
    conduct.run(studied(tmp_path), moved, quiet=True)
    assert trained == []


@pytest.mark.slow
def test_another_beginning_makes_another_run(conducted, trained, tmp_path):
    done = Path(shutil.copytree(conducted, tmp_path / "tiny"))
    study = studied(tmp_path, TEXT.replace("training.steps = 3", "training.steps = 2"))
    conduct.run(study, done, quiet=True)
    assert trained == ["halos", "longer", "probe-labels-5", "fine-labels-5"]
    assert set(states(study, done).values()) == {"done"}


def test_what_begins_with_a_failed_run_fails_with_its_reason(tmp_path, trained):
    study = studied(tmp_path, TEXT.replace("training.steps = 3", "training.steps = 3\ntraining.strategy = 'none'"))
    found = {one.planned.label: one for one in conduct.run(study, tmp_path / "tiny", quiet=True)}
    assert trained == ["halos", "scratch-labels-5"]
    assert {label: one.state for label, one in found.items()} == {
        "halos": "failed", "longer": "failed", "scratch, labels 5": "done", "probe, labels 5": "failed",
        "fine, labels 5": "failed",
    }  # fmt: skip
    assert found["probe, labels 5"].note.startswith("it begins with halos, which failed: training.accelerator")
    assert "begins with longer, which failed: it begins with halos" in found["fine, labels 5"].note


@pytest.mark.slow
def test_a_beginning_that_another_process_is_at_work_on_is_waited_for(conducted, trained, tmp_path):
    out, study = tmp_path / "tiny", studied(tmp_path)
    planned = plan(study)
    halos = places(study, planned, out)[0]
    halos.folder.mkdir(parents=True)
    finished = places(study, planned, conducted)[0].run
    lock = SoftFileLock(halos.claim)
    lock.acquire()
    found, told = [], []

    def other() -> None:
        while "probe-labels-5" not in trained and not any("scratch" in line for line in told):
            threading.Event().wait(0.05)
        shutil.copytree(finished, tmp_path / "copy")
        (tmp_path / "copy").rename(halos.run)
        lock.release()

    process = threading.Thread(target=other)
    process.start()
    (out / "tiny.toml").write_text((conducted / "tiny.toml").read_text())
    found = conduct.run(study, out, quiet=True, tell=told.append)
    process.join()
    assert {one.state for one in found} == {"done"}
    assert sorted(trained) == ["fine-labels-5", "longer", "probe-labels-5", "scratch-labels-5"]
    assert sum("halos: claimed by process" in line for line in told) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('init = "halos", ', 'init = "halso", '), "init: no run of before is called 'halso'; did you mean 'halos'"),
        (('init = "halos"\ntraining', 'init = "unused"\ntraining'), "no run of before is called 'unused'"),
        (
            ('init = "halos", ', 'init = "halos", backbone.depth = 2, '),
            r"backbone\.depth of before\.halos is 1, here it",
        ),
        (('preset = "deeplense/binary"', 'preset = "deeplense/binry"'), r"\(run 'before\.halos'\)"),
        (("training.freeze = true", "training.lora.rank = 128"), "rank 128 is no low rank"),
        (("training.freeze = true", 'training.lora = {rank = 2, targets = ["*.qk"]}'), "matches no module"),
    ],
)
def test_faults_are_found_before_the_first_run(tmp_path, change, words):
    assert TEXT.count(change[0]) == 1
    with pytest.raises(InputError, match=words):
        plan(studied(tmp_path, TEXT.replace(*change)))


def test_the_study_of_labels_compares_methods_on_the_same_images():
    planned = plan(read(Path(__file__).parents[2] / "runs" / "studies" / "label-efficiency.toml"))
    assert [one.label for one in planned if one.first] == ["simclr", "physics", "mae"]
    rest = [one for one in planned if not one.first]
    assert len(rest) == (5 * 6 + 6) * 3
    assert len({one.config.model_copy(update={"training": None, "init": None}).model_dump_json() for one in rest}) == 18
    assert all(one.start is None or one.start.label in one.label.lower() for one in rest)


def test_the_plan_can_be_looked_at(tmp_path, monkeypatch, capsys):
    from arcformer.cli import main

    monkeypatch.chdir(tmp_path)
    studied(tmp_path)
    assert main(["study", "tiny.toml", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("before: halos ") and "to do" in line for line in lines)
    assert "5 runs: 5 to do" in lines[-1]
    assert json.dumps(sorted(path.name for path in tmp_path.iterdir())) == '["tiny.toml"]'


def test_what_begins_with_a_faulty_run_is_not_faulty_too(tmp_path):
    with pytest.raises(InputError) as error:
        plan(studied(tmp_path, TEXT.replace("training.steps = 3", "training.steps = 3\ntask.dropout = 2.0")))
    assert "dropout is a probability" in str(error.value)
    assert "one fault" in str(error.value)

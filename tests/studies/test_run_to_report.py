"""From a configuration to a report, with nothing made up in between."""

import json

import pytest

import arcformer
from arcformer.config import read
from arcformer.data.simulated import SimulatedBatches
from arcformer.errors import InputError
from arcformer.studies.evaluate import evaluate
from arcformer.studies.report import write_report
from arcformer.training import RunConfig

SMALL = (
    "data.preset=deeplense/model-2", "data.pixels=32", "data.validation=24", "data.workers=0",
    "backbone.size=tiny", "backbone.patch=8", "training.steps=4", "training.batch_size=12", 'training.precision="32"',
    "training.evaluate_every=2", "training.log_every=1", "training.accelerator=cpu",
)  # fmt: skip


def test_a_trained_run_is_evaluated_and_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCFORMER_EAGER", "1")
    arcformer.fit(read(RunConfig, overrides=SMALL), tmp_path / "run", quiet=True)
    run = arcformer.load(tmp_path / "run")
    images = SimulatedBatches("deeplense/model-2", batch_size=20, seed=7, split="test", count=60, pixels=32)
    found = evaluate(run, images, name="test", about="60 images of deeplense/model-2, seed 7")
    assert len(found) == len(set(found.ids)) == 60
    assert found.leaks.linear.value > 0.75  # as published, untrained networks or not
    html, numbers = write_report(tmp_path / "report", run, [found])
    facts = json.loads(numbers.read_text())["facts"]
    assert facts["training"]["images_seen"] == 48
    assert facts["images"] == 60
    for shown in ("learning curve", "48", "deeplense/model-2", run.metrics["versions"]["torch"]):
        assert shown in html.read_text()
    with pytest.raises(InputError, match="not of this run"):
        write_report(run.folder, run, [found])  # the folder of the run has a metrics.json of its own

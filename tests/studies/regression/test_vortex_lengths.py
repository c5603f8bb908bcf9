"""The mass of the axion by the length of its vortex, beside the floor."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from arcformer.sim.substructure import HALF_LENGTH
from arcformer.studies.evaluate import evaluate
from arcformer.studies.floor import MassFloor
from arcformer.studies.regression import evaluation as module
from arcformer.studies.regression import figures
from arcformer.studies.regression.evaluation import MASS
from arcformer.studies.report import write_report
from arcformer.training.recipe import DataSection

FLOOR = MassFloor(np.geomspace(0.03, 3, 50), np.geomspace(5, 0.01, 50), np.linspace(0.3, 0.01, 50), 0.15)


@pytest.fixture
def vortices(measured, monkeypatch):
    """A run that measures axion masses, and images to test it on; what can be known is ``FLOOR``."""
    monkeypatch.setattr(module, "mass_floor", lambda preset: FLOOR)
    module._floor.cache_clear()
    run, batch = measured(160)
    masses = -24 + 2 * torch.rand(160, generator=torch.Generator().manual_seed(1))
    batch = replace(batch, targets=torch.stack([masses, batch.targets[:, 0]], 1), target_names=(MASS, "theta_E"))
    run.task = type(run.task)(batch)
    run.task.targets = batch.target_names
    run.config = SimpleNamespace(**vars(run.config) | {"data": DataSection()})
    return run, batch


def test_errors_stand_beside_the_floor_at_the_length_of_the_vortex(vortices):
    run, batch = vortices
    found = evaluate(run, [batch], name="test")
    rows = found.against_length
    assert [row["images"] for row in rows] == [20] * 8
    assert rows[0]["low"] == pytest.approx(HALF_LENGTH / 10 ** float(batch.targets[:, 0].max()), rel=1e-4)
    assert rows[-1]["high"] == pytest.approx(HALF_LENGTH / 10 ** float(batch.targets[:, 0].min()), rel=1e-4)
    floors = [row["floor_error"] for row in rows]
    assert floors == sorted(floors, reverse=True)
    mae = found.estimates[f"mae_{MASS}"]
    assert found.estimates[f"over_floor_mae_{MASS}"].value == pytest.approx(mae.value / 0.15)
    assert found.unit(f"over_floor_mae_{MASS}") == ""
    assert len(found.tables[f"half_length_{MASS}"]) == 8
    labels = [text.get_text() for text in figures.against_length(found).axes[0].get_legend().get_texts()]
    assert "floor of the error, with the prior" in labels


def test_the_report_tells_the_floor_or_that_there_is_none(vortices, tmp_path, monkeypatch):
    run, batch = vortices
    html, _ = write_report(tmp_path / "out", run, [evaluate(run, [batch], name="test")])
    assert "prior is 0.150 dex" in html.read_text()
    monkeypatch.setattr(module, "_floor", lambda data: None)
    html, _ = write_report(tmp_path / "other", run, [evaluate(run, [batch], name="test")])
    assert "There is no floor" in html.read_text()

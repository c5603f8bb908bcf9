"""Runs that estimate, on files: columns, samples, pictures of the lens rendered anew, populations."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from arcformer.config import read
from arcformer.data.domain import Domain
from arcformer.data.image import BadFile
from arcformer.data.simulated import SimulatedBatches
from arcformer.data.transforms import Transform
from arcformer.errors import InputError
from arcformer.population import population, write_population
from arcformer.predict import predict, write_predictions
from arcformer.sim.render import simulate
from arcformer.training import Run, RunConfig
from arcformer.training.build import build_task
from arcformer.training.folder import Network

LENS = ("theta_E", "e1", "e2", "gamma1", "gamma2", "source_x", "source_y")


def untrained(targets: tuple[str, ...], centre: tuple[float, ...], preset: str = "survey/hst") -> Run:
    """A run on 48 x 48 pixels whose network is as it was drawn."""
    config = read(RunConfig, overrides=(
        f"data.preset={preset}", "transform.size=48", "backbone.size=tiny", "backbone.patch=8", "backbone.depth=1",
        "task.name=regress", f"task.targets={json.dumps(targets)}",
    ))  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCFORMER_EAGER", "1")
        batch = SimulatedBatches(preset, batch_size=12, seed=1, split="train").batch(0)
    section = config.transform.model_copy(update={"pixel_scale": float(batch.pixel_scale[0])})
    transform = Transform(section).fit([batch])
    torch.manual_seed(0)
    task: Any = build_task(config, batch.classes, 48, 1).eval()
    task.standard.mean.copy_(torch.tensor(centre))
    task.standard.std.fill_(0.05)
    return Run(
        folder=Path("run"),
        config=config,
        task=task,
        transform=transform,
        domain=Domain.fit([batch], transform),
        classes=batch.classes,
        metrics={},
        network=Network(48, 1, batch.classes),
    )


@pytest.fixture(scope="module")
def run() -> Run:
    return untrained(LENS, (1.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def subhalos() -> Run:
    return untrained(("f_sub",), (0.05,), "corrected/model-1-deep")


@pytest.fixture
def lenses(tmp_path: Path) -> Path:
    """Three images of a preset, in files that say nothing of their pixels."""
    folder = tmp_path / "lenses"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCFORMER_EAGER", "1")
        images = simulate("survey/hst", 3, seed=4).images
    for k, image in enumerate(images):
        np.save(folder / f"{k}.npy", image[0].numpy())
    return folder


def test_a_row_has_each_target_with_its_interval(run, lenses):
    (one, *_) = predict(run, [lenses]).found
    columns = [f"{name}{end}" for name in LENS for end in ("", "_std", "_low", "_high")]
    assert list(one.row) == ["path", *columns, "centre_y", "centre_x", "pixel_scale", "notes"]
    assert one.row["theta_E_low"] < one.row["theta_E"] < one.row["theta_E_high"]
    assert {name: tuple(values.shape) for name, values in one.posterior.items()} == dict.fromkeys(LENS, (256,))
    assert one.posterior["theta_E"].mean() == pytest.approx(one.row["theta_E"], abs=0.05)


def test_samples_are_written_beside_their_catalogue(run, lenses, tmp_path):
    predictions = predict(run, [lenses], samples=200)
    folder = tmp_path / "out"
    for _ in range(2):  # written again, in the place of what was there
        write_predictions(folder, predictions, samples_of=run, picture=lambda _: b"")
    with safe_open(folder / "samples.safetensors", "pt") as file:
        samples, about = file.get_tensor("samples"), json.loads(file.metadata()["posterior"])
    assert samples.shape == (3, 200, len(LENS))
    assert about["targets"] == list(LENS)
    assert set(about) == {"run", "weights", "targets"}
    rows = list(csv.DictReader((folder / "samples.csv").open()))
    assert [Path(row["file"]).name for row in rows] == ["0.npy", "1.npy", "2.npy"]
    for row, one in zip(samples, predictions.found, strict=True):
        assert row[:, 0].equal(one.posterior["theta_E"])
    write_predictions(folder, predictions, picture=lambda _: b"")
    assert not (folder / "samples.safetensors").exists()


def test_a_run_without_a_posterior_has_no_samples(run, lenses):
    classifier = replace(run, config=read(RunConfig), task=torch.nn.Linear(1, 1))
    with pytest.raises(InputError, match=r"run has no posterior .* task is classify; leave samples out"):
        predict(classifier, [lenses], samples=10)
    with pytest.raises(InputError, match="0 samples: expected at least one"):
        predict(run, [lenses], samples=0)


def test_a_lens_that_is_estimated_is_drawn_anew(run, lenses):
    (one, *_) = predict(run, [lenses]).found
    wide = one.picture()
    assert wide.startswith(b"\x89PNG")
    few = untrained(("f_sub",), (0.05,))
    (other, *_) = predict(few, [lenses]).found
    assert other.picture().startswith(b"\x89PNG")
    assert len(other.picture()) < len(wide)


def test_hubble_files_are_drawn_though_nothing_was_learned(run, samples, tmp_path):
    predictions = predict(run, [samples / "lenses" / "slacs_hst"], pixel_scale=0.03)
    assert len(predictions.found) == 5
    for one in predictions.found:
        assert one.image.psf is not None
        assert one.notes
    table, pictures = write_predictions(tmp_path / "out", predictions, samples_of=run)
    assert len(pictures) == 5
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    assert len(list(csv.DictReader(table.open()))) == 5


def test_a_population_is_written_whole(subhalos, lenses, tmp_path):
    found = population(subhalos, [lenses])
    assert (found.target, len(found)) == ("f_sub", 3)
    assert any("class that has f_sub: cdm" in line for line in found.remarks)
    folder = tmp_path / "out"
    for _ in range(2):
        written = write_population(folder, found, subhalos)
    result = json.loads(written.read_text())
    assert (result["target"], result["lenses"]) == ("f_sub", 3)
    assert result["prior"] == "LogUniform(low=0.003, high=0.1)"
    assert set(result) >= {"shared", "mean", "spread", "run", "weights", "remarks"}
    assert result["shared"]["low_95"] < result["shared"]["low_68"] < result["shared"]["median"]
    assert 0.003 <= result["shared"]["low_95"] < result["shared"]["high_95"] <= 0.1
    curve = [row for row in csv.DictReader((folder / "posterior.csv").open()) if row["of"] == "shared"]
    values, density = (np.array([float(row[name]) for row in curve]) for name in ("value", "density"))
    assert (density * values).sum() / density.sum() == pytest.approx(found.shared.mean, rel=0.2)
    assert len(list(csv.DictReader((folder / "lenses.csv").open()))) == 3
    assert (folder / "population.png").read_bytes().startswith(b"\x89PNG")
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds something else, as mine\.txt"):
        write_population(folder, found, subhalos)


def test_one_file_is_a_population_and_says_what_it_says_alone(subhalos, lenses):
    found = population(subhalos, [lenses / "1.npy"], "f_sub")
    (alone,) = found.ratios.posteriors
    assert found.shared.mean == pytest.approx(alone.mean, rel=1e-3)
    assert found.shared.std == pytest.approx(alone.std, rel=1e-2)


def test_one_target_of_several(run, lenses):
    found = population(run, [lenses], "theta_E", grid=256)
    (one,) = population(run, [lenses / "0.npy"], "theta_E", grid=256).ratios.posteriors
    row = predict(run, [lenses / "0.npy"]).found[0].row
    assert one.mean == pytest.approx(row["theta_E"], abs=0.01)  # the targets of the stand-in are independent
    assert one.std == pytest.approx((row["theta_E_high"] - row["theta_E_low"]) / 2, rel=0.05)
    assert found.shared.std < one.std
    assert not any("hardly share" in line for line in found.remarks)  # all alike, as nothing was learned


def test_what_cannot_be_is_said(run, subhalos, lenses):
    with pytest.raises(InputError, match=r"the run estimates theta_E, .*choose one with target"):
        population(run, [lenses])
    with pytest.raises(InputError, match=r"does not estimate 'f_subs'; did you mean 'f_sub'\?"):
        population(subhalos, [lenses], "f_subs")
    with pytest.raises(InputError, match=r"estimates no target: its task is classify"):
        population(replace(run, config=read(RunConfig), task=torch.nn.Linear(1, 1)), [lenses], "f_sub")
    published = replace(subhalos, config=read(RunConfig, overrides=["data.preset=deeplense/model-1"]))
    with pytest.raises(InputError, match=r"deeplense/model-1 draws no 'f_sub'"):
        population(published, [lenses], "f_sub")
    (lenses / "bad.npy").write_text("words")
    with pytest.raises(BadFile, match=r"bad\.npy"):
        population(subhalos, [lenses], "f_sub")
    found = population(subhalos, [lenses], "f_sub", skip_bad=True)
    assert (len(found), len(found.skipped)) == (3, 1)

"""A regression from training to its report and its row in a study."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from shell import SMALL, Command

from arcformer.cli import main
from arcformer.studies.regression import baseline

MASS = "log10_halo_mass"
RUN = (
    *(word for word in SMALL if not word.startswith("data.preset")), "data.preset=deeplense/halo-mass",
    "data.pixels=64", "data.validation=24", "transform.size=32", "task.name=regress",
    f'task.targets=["{MASS}"]',
)  # fmt: skip


@pytest.fixture(scope="module")
def weighed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run that measures the mass of the halo; not to be written to."""
    folder = tmp_path_factory.mktemp("weighed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCFORMER_EAGER", "1")
        assert main(["train", "--out", str(folder), *RUN]) == 0
    return folder


@pytest.fixture(autouse=True)
def _few_training_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "FITTED_ON", 36)


def test_training_tells_of_errors_too(arcformer: Command) -> None:
    trained = arcformer("train", "--out", "run", *RUN)
    assert trained.code == 0
    first = trained.out.splitlines()[0]
    assert first.startswith("validation nll ")
    assert f", mae/{MASS} 0." in first
    assert "; weights of step" in first


def test_a_report_of_masses(arcformer: Command, weighed: Path) -> None:
    ended = arcformer("evaluate", weighed, "--count", 40, "--out", "report")
    assert (ended.code, ended.err) == (0, "")
    told = "On 40 simulated images of deeplense/halo-mass (seed 1), the network measures"
    assert ended.out.startswith(f"{told} {MASS} with a mean absolute error of ")
    numbers = json.loads(Path("report/metrics.json").read_text())
    assert {f"mae_{MASS}", f"coverage_95_{MASS}", f"below_linear_mae_{MASS}", "nll", "tarp_p"} <= numbers.keys()
    assert numbers[f"mae_{MASS}"]["unit"] == "dex"
    assert sum(row["images"] for row in numbers["tables"][f"bins_{MASS}"]) == 40
    assert "36 of" in Path("report/report.html").read_text()
    assert arcformer("evaluate", weighed, "--count", 40, "--out", "report").out == ended.out


def test_images_without_the_target_are_named(arcformer: Command, weighed: Path) -> None:
    Path("some/no_sub").mkdir(parents=True)
    for name in "ab":
        np.save(f"some/no_sub/{name}.npy", np.ones((64, 64)))
    ended = arcformer("evaluate", weighed, "--count", 20, "--out", "report", "--reference", "some=some")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("arcformer: ")
    assert MASS in ended.err
    assert ended.err.count("\n") == 1
    assert not Path("report").exists()


def test_a_study_of_regressions_is_tabulated_by_their_errors(arcformer: Command) -> None:
    sections: dict = {"run": {}, "axes": {"seed": [1, 2]}, "test": {"count": 30}}
    Path("masses.toml").write_text(tomli_w.dumps(sections))
    ended = arcformer("study", "masses.toml", *(f"run.{word}" for word in RUN))
    assert ended.code == 0
    header = ended.out.splitlines()[0]
    for name in (f"mae_{MASS}", f"below_linear_mae_{MASS}", f"coverage_68_{MASS}", "nll"):
        assert name in header
    assert "auroc" not in header
    first, second = csv.DictReader(Path("masses/results.csv").read_text().splitlines())
    assert float(first[f"mae_{MASS}_low"]) <= float(first[f"mae_{MASS}"]) <= float(first[f"mae_{MASS}_high"])
    assert first[f"validation_mae/{MASS}"] != second[f"validation_mae/{MASS}"]
    rows = json.loads(Path("masses/results.json").read_text())
    assert {row["unit"] for row in rows if row["name"].startswith("mae_log10")} == {"dex"}
    (mean,) = csv.DictReader(Path("masses/seeds.csv").read_text().splitlines())
    assert float(mean[f"mae_{MASS}_low"]) >= 0

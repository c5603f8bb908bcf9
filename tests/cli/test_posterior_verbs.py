"""``population`` and ``predict --samples`` on a command line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from shell import SIMULATED, Command

from arcformer.cli import main
from arcformer.sim.render import simulate


@pytest.fixture(scope="module")
def estimating(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that estimates the mass of the axion; not to be written to."""
    folder = tmp_path_factory.mktemp("estimating") / "run"
    task = ("task.name=regress", 'task.targets=["log10_axion_mass_eV"]', "data.only=axion")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCFORMER_EAGER", "1")
        assert main(["train", "--out", str(folder), *SIMULATED, *task]) == 0
    return folder


@pytest.fixture
def lenses(tmp_path: Path) -> Path:
    images = simulate("deeplense/model-2", labels=["axion"] * 4, seed=5, pixels=32).images[:, 0].numpy()
    (tmp_path / "lenses").mkdir()
    for k, image in enumerate(images):
        np.save(tmp_path / "lenses" / f"{k}.npy", image)
    return tmp_path / "lenses"


def test_lenses_say_one_thing_together(arcformer: Command, estimating: Path, lenses: Path) -> None:
    ended = arcformer("population", estimating, lenses, "--out", "together", "--target", "log10_axion_mass_eV")
    assert ended.code == 0, ended.err
    rows = {row["quantity"]: row for row in csv.DictReader(io.StringIO(ended.out))}
    assert list(rows) == ["shared", "mean", "spread"]
    assert rows["shared"]["lenses"] == "4"
    assert -24 < float(rows["shared"]["low_95"]) < float(rows["shared"]["high_95"]) < -22
    assert "every lens is taken to be of a class that has log10_axion_mass_eV: axion" in ended.err
    there = {path.name for path in Path("together").iterdir()}
    assert there == {"population.json", "posterior.csv", "lenses.csv", "population.png"}
    assert json.loads(Path("together/population.json").read_text())["run"] == str(estimating)
    as_json = arcformer("population", estimating, lenses, "--json")
    assert [row["quantity"] for row in json.loads(as_json.out)] == list(rows)


def test_bad_files_are_left_out_when_asked(arcformer: Command, estimating: Path, lenses: Path) -> None:
    (lenses / "1.npy").write_text("hello")
    ended = arcformer("population", estimating, lenses, "--out", "together")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "1.npy" in ended.err
    assert not Path("together").exists()
    ended = arcformer("population", estimating, lenses, "--out", "together", "--skip-bad")
    assert ended.code == 0
    assert "1 bad file left out" in ended.err
    assert Path("together/skipped.txt").read_text().count("\n") == 1


def test_a_table_has_intervals_and_samples_lie_beside_it(arcformer: Command, estimating: Path, lenses: Path) -> None:
    ended = arcformer("predict", estimating, lenses, "--out", "predicted", "--samples", "20")
    assert ended.code == 0, ended.err
    (row, *_) = csv.DictReader(io.StringIO(ended.out))
    ends = [float(row[f"log10_axion_mass_eV{end}"]) for end in ("_low", "", "_high")]
    assert ends == sorted(ends)
    there = {path.name for path in Path("predicted").iterdir()}
    assert there == {"predictions.csv", "samples.safetensors", "samples.csv", *(f"{k}.png" for k in range(4))}
    assert arcformer("predict", estimating, lenses, "--out", "predicted").code == 0
    assert not Path("predicted/samples.csv").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["population", "RUN", "lenses", "--target", "theta_E"], "does not estimate 'theta_E'"),
        (["population", "CLASSIFIER", "lenses"], "estimates no target: its task is classify"),
        (["population", "no-run", "lenses"], "no-run: no such folder"),
        (["population", "RUN", "nowhere"], "nowhere: no such file or folder"),
        (["population", "RUN", "lenses", "--out", "lenses"], "lenses holds something else, as 0.npy"),
        (["population", "RUN", "lenses", "--grid", "2"], "--grid"),
        (["predict", "RUN", "lenses", "--samples", "5"], "name it with --out"),
        (["predict", "CLASSIFIER", "lenses", "--samples", "5", "--out", "o"], "has no posterior"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_mistakes_are_said_in_a_line(
    arcformer: Command, estimating: Path, trained: Path, lenses: Path, words: list[str], said: str
) -> None:
    folders = {"RUN": estimating, "CLASSIFIER": trained}
    ended = arcformer(*(folders.get(word, word) for word in words))
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended.err
    assert said in ended.err
    assert [path.name for path in Path().iterdir()] == ["lenses"]

"""``detect`` on a command line, and ``evaluate`` of a run that detects."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from shell import SIMULATED, SMALL, Command

from arcformer.cli import main
from arcformer.sim.render import simulate

DETECTING = (
    "task.name=detect", "task.statistic=mahalanobis", "training.steps=0", "data.only=no_sub", "data.calibration=150",
    "data.fitting=48",
)  # fmt: skip


@pytest.fixture(scope="module")
def detecting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has been shown smooth lenses; not to be written to."""
    folder = tmp_path_factory.mktemp("detecting") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCFORMER_EAGER", "1")
        assert main(["train", "--out", str(folder), *SIMULATED, *DETECTING]) == 0
    return folder


def write_lenses(folder: Path, label: str, count: int, seed: int = 5, side: int = 32) -> Path:
    images = simulate("deeplense/model-2", labels=[label] * count, seed=seed, pixels=side).images[:, 0].numpy()
    folder.mkdir(parents=True)
    for k, image in enumerate(images):
        np.save(folder / f"{label}-{seed}-{k}.npy", image)
    return folder


@pytest.fixture
def lenses(tmp_path: Path) -> Path:
    return write_lenses(tmp_path / "lenses", "no_sub", 4)


def test_files_have_scores_p_values_and_flags_and_pictures_of_where(
    arcformer: Command, detecting: Path, lenses: Path
) -> None:
    bright = np.load(lenses / "no_sub-5-1.npy")
    bright[10:22, 10:22] += 50 * bright.max()
    np.save(lenses / "no_sub-5-1.npy", bright)
    ended = arcformer("detect", detecting, lenses, "--out", "detected", "--fdr", "0.2")
    assert ended.code == 0, ended.err
    rows = list(csv.DictReader(io.StringIO(ended.out)))
    assert list(rows[0])[:5] == ["path", "score", "p_value", "flag", "discovery"]
    for row in rows:
        assert row["flag"] == ("anomaly" if float(row["p_value"]) <= 0.01 else "")
        odd = row["path"].endswith("-1.npy")
        assert (row["flag"] == "anomaly") or not odd
    assert rows[1]["discovery"] == "anomaly"
    assert "brightest pixel" in rows[1]["notes"]
    assert "flagged; of as many normal ones about 0.04 would be" in ended.err
    there = {path.name for path in Path("detected").iterdir()}
    assert there == {"predictions.csv", *(f"no_sub-5-{k}.png" for k in range(4))}
    stored = list(csv.DictReader(io.StringIO(Path("detected/predictions.csv").read_text())))
    assert [row["flag"] for row in stored] == [row["flag"] for row in rows]
    as_json = json.loads(arcformer("detect", detecting, lenses, "--false-alarms", "0.5", "--json").out)
    assert [row["score"] for row in as_json] == pytest.approx([float(row["score"]) for row in rows], rel=1e-4)
    assert "discovery" not in as_json[0]


def test_predict_says_scores_too(arcformer: Command, detecting: Path, lenses: Path) -> None:
    (row, *_) = csv.DictReader(io.StringIO(arcformer("predict", detecting, lenses).out))
    assert list(row)[:3] == ["path", "score", "p_value"]
    assert "flag" not in row


def test_a_catalogue_too_large_for_its_calibration_is_told(arcformer: Command, detecting: Path, lenses: Path) -> None:
    ended = arcformer("detect", detecting, lenses, "--fdr", "0.01")
    assert ended.code == 0
    assert "with 150 calibration images, no p-value is below 0.0066: among 4 files, fewer than 3 anomalies" in ended.err
    assert "there would have to be 399: raise data.calibration, or of a folder give more files" in ended.err
    ended = arcformer("detect", detecting, lenses, "--fdr", "0.001")
    assert "among 4 files, none can be discovered at 0.001" in ended.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["detect", "CLASSIFIER", "lenses"], "detects no anomalies: its task is classify; train task detect"),
        (
            ["detect", "RUN", "lenses", "--false-alarms", "0.001"],
            "999 are needed; raise data.calibration, or",
        ),
        (["detect", "RUN", "lenses", "--false-alarms", "2"], "a share between 0 and 1, got 2"),
        (["detect", "RUN", "lenses", "--fdr", "0"], "a share between 0 and 1, got 0"),
        (["detect", "RUN", "nowhere"], "nowhere: no such file or folder"),
        (["detect", "RUN", "lenses", "--out", "lenses"], "lenses holds something else"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_mistakes_are_said_in_a_line(
    arcformer: Command, detecting: Path, trained: Path, lenses: Path, words: list[str], said: str
) -> None:
    folders = {"RUN": detecting, "CLASSIFIER": trained}
    ended = arcformer(*(folders.get(word, word) for word in words))
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended.err
    assert said in ended.err
    assert [path.name for path in Path().iterdir()] == ["lenses"]


@pytest.mark.slow
def test_a_run_is_tested_on_classes_that_it_has_not_seen(arcformer: Command, detecting: Path, tmp_path: Path) -> None:
    for label in ("no_sub", "cdm"):
        write_lenses(tmp_path / "sorted" / label, label, 6, side=64)
    words = ("--count", "90", "--reference", "files=sorted", "--show", "sorted/cdm")
    ended = arcformer("evaluate", detecting, "--out", "report", *words)
    assert ended.code == 0, ended.err
    assert "90 simulated images of deeplense/model-2 (seed 1), the run tells cdm and axion from no_sub" in ended.out
    found = json.loads(Path("report/metrics.json").read_text())
    assert {"auroc_cdm", "auroc_axion", "recall_1", "mahalanobis_auroc", "oddity_auroc_double_source"} <= found.keys()
    assert {"files_auroc_cdm", "files_false_alarms_5", "files_spearman_log10_flux"} <= found.keys()
    assert "files_oddity_auroc_double_source" not in found
    assert found["facts"]["images"] == 90


@pytest.mark.slow
def test_a_run_on_files_is_tested_on_those_beside_them(arcformer: Command, tmp_path: Path) -> None:
    write_lenses(tmp_path / "sorted" / "no_sub", "no_sub", 90)
    write_lenses(tmp_path / "sorted" / "cdm", "cdm", 12)
    ended = arcformer("train", "--out", "run", *SMALL, "data.folder=sorted", *DETECTING)
    assert ended.code == 0, ended.err
    ended = arcformer("evaluate", "run", "--out", "report")
    assert ended.code == 0, ended.err
    split = json.loads(Path("run/split.json").read_text())
    found = json.loads(Path("report/metrics.json").read_text())
    assert found["facts"]["images"] == len(split["test"]) + 12
    assert "images in sorted that were not trained on" in ended.out
    assert "auroc_cdm" in found


@pytest.mark.slow
def test_a_flat_folder_is_normal_as_a_whole(arcformer: Command, tmp_path: Path) -> None:
    write_lenses(tmp_path / "flat", "no_sub", 90)
    ended = arcformer("train", "--out", "run", *SMALL, "data.folder=flat", *DETECTING)
    assert ended.code == 0, ended.err
    ended = arcformer("evaluate", "run", "--out", "report")
    assert ended.code == 0, ended.err
    assert "all of them normal" in ended.out

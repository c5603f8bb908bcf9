"""The whole road by its commands: simulate, train, evaluate, predict. Also over files that cannot be used."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shell import SIMULATED, SMALL, Command

from arcformer.data.files import read_image
from arcformer.data.index import is_store

COUNT = 60
COLUMNS = ["path", "class", "p_no_sub", "p_cdm", "p_axion"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated lenses as DeepLense's files."""
    from arcformer.cli import main

    out = tmp_path_factory.mktemp("simulated") / "files"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCFORMER_EAGER", "1")
        words = ["deeplense/model-2", "--count", str(COUNT), "--pixels", "32", "--out", str(out)]
        assert main(["simulate", *words, "--format", "deeplense"]) == 0
    assert [path.name for path in out.parent.iterdir()] == ["files"]  # the store on the way is gone
    return out


def with_bad_ones(files: Path, folder: Path) -> Path:
    """A few of the files, and three among them that are truncated, without a number, and text."""
    for path in sorted(files.rglob("*.npy"))[::2]:
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / path.parent.name / path.name).write_bytes(path.read_bytes())
    whole = next((files / "cdm").glob("*.npy")).read_bytes()
    (folder / "cdm" / "cut.npy").write_bytes(whole[:-100])
    np.save(folder / "no_sub" / "nan.npy", np.full((32, 32), np.nan))
    (folder / "axion" / "text.npy").write_text("not an array")
    (folder / "axion" / ".DS_Store").write_text("junk")
    return folder


BAD = ("cut.npy", "nan.npy", "text.npy")


def test_from_a_preset_to_a_report_and_a_prediction(arcformer: Command, files: Path, tmp_path: Path) -> None:
    simulated = arcformer("simulate", "deeplense/model-2", "--count", COUNT, "--pixels", 32, "--out", "lenses")
    assert (simulated.code, simulated.err) == (0, "")
    assert simulated.out == "60 images of deeplense/model-2 (seed 0) in lenses\n"
    assert is_store("lenses")

    trained = arcformer("train", "--out", "run", "data.folder=lenses", *SMALL)
    assert (trained.code, trained.err) == (0, "")
    assert "weights of step" in trained.out
    assert trained.out.endswith("next: arcformer evaluate run --out run-report\n")

    some = sorted((files / "cdm").iterdir())[:2]
    words = [
        "evaluate",
        "run",
        "--out",
        "report",
        "--reference",
        f"files={files}",
        "--show",
        some[0],
        "--show",
        some[1],
    ]
    evaluated = arcformer(*words)
    assert (evaluated.code, evaluated.err) == (0, "")
    assert "images in lenses that were kept for the test, the network tells no_sub, cdm and axion" in evaluated.out
    assert f"on the 60 images in {files.name}" in evaluated.out
    numbers = json.loads(Path("report/metrics.json").read_text())
    assert {"auroc", "files_accuracy", "files_leak_auroc", "files_auroc_above_leak"} <= numbers.keys()
    page = Path("report/report.html").read_text()
    assert f"arcformer {' '.join(map(str, words))}" in page
    assert all(path.name in page for path in some)

    predicted = arcformer("predict", "run", *some, "--out", "predicted")
    assert predicted.code == 0
    rows = list(csv.DictReader(predicted.out.splitlines()))
    assert [row["path"] for row in rows] == list(map(str, some))
    assert list(rows[0])[: len(COLUMNS)] == COLUMNS
    assert sum(float(rows[0][name]) for name in COLUMNS[2:]) == pytest.approx(1, abs=1e-3)
    assert sorted(path.name for path in Path("predicted").iterdir()) == [
        *(f"{path.stem}.png" for path in some), "predictions.csv",
    ]  # fmt: skip


def test_a_run_of_some_classes_says_what_it_left_out_and_is_tested_on_them(arcformer: Command, files: Path) -> None:
    some = 'data.only=["axion", "no_sub"]'
    cdm = len(list((files / "cdm").iterdir()))
    trained = arcformer("train", "--out", "run", f"data.folder={files}", some, *SMALL)
    assert trained.code == 0
    assert trained.err == f"{cdm} images of cdm left out: the run is about other classes (data.only)\n"
    evaluated = arcformer("evaluate", "run", "--out", "report", "--reference", f"all={files}")
    assert evaluated.code == 0
    assert f"{files}: {cdm} images of cdm left out" in evaluated.err
    assert "the network tells no_sub and axion" in evaluated.out
    assert f"on the {COUNT - cdm} images in {files.name}" in evaluated.out
    assert arcformer("train", "--out", "simulated", some, *SIMULATED).err == ""
    evaluated = arcformer("evaluate", "simulated", "--out", "r", "--count", 5)
    assert evaluated.out.startswith("On 5 simulated images of deeplense/model-2 (no_sub and axion alone) (seed 1)")
    ended = arcformer("train", "--out", "one", "data.only=axion", *SIMULATED)
    assert ended.code == 2
    assert "classify needs at least two classes, and these images are of axion alone" in ended.err


def test_a_run_on_simulated_images_is_tested_on_fresh_ones(arcformer: Command, trained: Path) -> None:
    def nll(folder: str) -> float:
        return json.loads(Path(folder, "metrics.json").read_text())["nll"]["value"]

    few = ["evaluate", trained, "--count", 5]  # too few for a leak audit, which takes its time
    evaluated = arcformer(*few, "--out", "one", "--seed", 0)  # the seed of the run itself
    assert (evaluated.code, evaluated.err) == (0, "")
    assert evaluated.out.startswith("On 5 simulated images of deeplense/model-2 (seed 0), the network tells")
    assert arcformer(*few, "--out", "one", "--seed", 0).out == evaluated.out  # its own report may be written again
    assert arcformer(*few, "--out", "other", "--seed", 1).code == 0
    assert nll("one") != nll("other")


def test_larger_images_are_cropped_to_those_of_the_training(
    arcformer: Command, trained: Path, files: Path, tmp_path: Path
) -> None:
    for path in [next((files / name).iterdir()) for name in ("no_sub", "cdm", "axion")]:
        batch = read_image(path)
        (tmp_path / "wide" / path.parent.name).mkdir(parents=True)
        np.save(tmp_path / "wide" / path.parent.name / path.name, np.pad(batch.images[0, 0].numpy(), 9))
        (tmp_path / "few" / path.parent.name).mkdir(parents=True)
        (tmp_path / "few" / path.parent.name / path.name).write_bytes(path.read_bytes())
    arcformer("evaluate", trained, "--count", 5, "--out", "r", "--reference", "wide=wide", "--reference", "few=few")
    numbers = json.loads(Path("r/metrics.json").read_text())
    assert numbers["wide_nll"]["value"] == numbers["few_nll"]["value"]


def test_predictions_as_json_and_as_a_table(
    arcformer: Command, trained: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = next((files / "cdm").iterdir())
    ended = arcformer("predict", trained, file, "--json")
    (row,) = json.loads(ended.out)
    assert list(row)[: len(COLUMNS)] == COLUMNS
    assert row["class"] in ("no_sub", "cdm", "axion")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "300")
    shown = arcformer("predict", trained, file).out
    assert row["class"] in shown
    assert f"{row['p_cdm']:.3g}" in shown
    assert "file " in shown.splitlines()[0]
    assert f"\n{file.name} " in shown
    assert f"\n\n{file.name}\n  - " in shown  # the notes: a .npy file does not say its pixel scale


def test_explanations_are_predictions_with_maps(arcformer: Command, trained: Path, files: Path) -> None:
    some = sorted((files / "cdm").iterdir())[:2]
    predicted = arcformer("predict", trained, *some, "--out", "predicted")
    explained = arcformer("explain", trained, *some, "--out", "explained")
    assert explained.code == 0
    assert explained.out == predicted.out
    names = sorted(path.name for path in Path("explained").iterdir())
    assert names == sorted(path.name for path in Path("predicted").iterdir())
    widths = [Image.open(Path(folder, f"{some[0].stem}.png")).width for folder in ("predicted", "explained")]
    assert widths[1] > 2 * widths[0]  # three more panels
    assert arcformer("explain", trained, *some, "--out", "explained", "--map", "gradient").code == 0  # ours: replaced
    assert Image.open(Path("explained", f"{some[0].stem}.png")).width < widths[1]
    refused = arcformer("explain", trained, *some, "--out", "other", "--map", "gradients")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.endswith(
        "there is no map 'gradients'; did you mean 'gradient'? Known: gradient, norms, rollout\n"
    )
    assert not Path("other").exists()


def test_what_a_convolutional_network_has_no_map_of(arcformer: Command, files: Path) -> None:
    small = [word for word in SIMULATED if not word.startswith("backbone.")]
    words = ["backbone.name=resnet", "backbone.width=4", "backbone.depths=[1,1]"]
    assert arcformer("train", "--out", "run", *small, *words).code == 0
    file = next((files / "cdm").iterdir())
    asked = arcformer("explain", "run", file, "--out", "explained", "--map", "rollout")
    assert (asked.code, asked.out, asked.err.count("\n")) == (2, "", 1)
    assert "roll-out: ResNet calls no scaled_dot_product_attention" in asked.err
    assert not Path("explained").exists()
    left = arcformer("explain", "run", file, "--out", "explained")
    assert left.code == 0
    assert "left out: roll-out: ResNet" in left.err


@pytest.mark.parametrize("verb", ["train", "evaluate", "predict"])
def test_bad_files_are_named_or_left_out_counted_and_listed(
    arcformer: Command, trained: Path, files: Path, tmp_path: Path, verb: str
) -> None:
    folder = with_bad_ones(files, tmp_path / "mixed")
    words, skip = {
        "train": (["train", "--out", "run", f"data.folder={folder}", *SMALL], "data.skip_bad=true"),
        "evaluate": (
            ["evaluate", trained, "--count", 5, "--out", "r", "--reference", f"mixed={folder}"],
            "--skip-bad",
        ),
        "predict": (["predict", trained, folder], "--skip-bad"),
    }[verb]
    ended = arcformer(*words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"arcformer: {folder}/")
    assert any(name in ended.err for name in BAD)

    ended = arcformer(*words, skip)
    assert ended.code == 0
    assert all(name in ended.err for name in BAD)
    assert "3 bad files left out" in ended.err
    if verb == "train":
        assert len(Path("run/skipped.txt").read_text().splitlines()) == len(BAD)
    if verb == "predict":
        assert len(ended.out.splitlines()) == 1 + COUNT // 2
        assert not any(name in ended.out for name in BAD)


def test_a_pickle_that_would_run_code_is_refused(trained: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "it ran"),)

    np.save(tmp_path / "lens.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    command = [sys.executable, "-m", "arcformer", "predict", trained, tmp_path / "lens.npy"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"arcformer: {tmp_path / 'lens.npy'}: refused")
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "it ran").exists()


@pytest.mark.slow
def test_two_processes_print_once(tmp_path: Path) -> None:
    words = ["train", "--out", "run", *SIMULATED, "training.devices=2", "training.strategy=ddp"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "arcformer"]
    ended = subprocess.run([*command, *words], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 0
    assert ended.stdout.count("next: ") == 1

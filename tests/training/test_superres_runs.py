"""Runs that learn of pairs, from the simulator and from files, to their report; and pairs that are none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from arcformer.config import parse
from arcformer.data.pairs import factor_of
from arcformer.errors import InputError
from arcformer.studies.evaluate import evaluate
from arcformer.studies.report import write_report
from arcformer.training import fit
from arcformer.training.build import check_trainable
from arcformer.training.recipe import RunConfig
from arcformer.training.sources import open_labelled, open_sources, open_test, split_files

BASE = {
    "data": {"pixels": 16, "validation": 12, "workers": 0, "pairs": "binned"},
    "transform": {"scaling": "linear"},
    "backbone": {"name": "swinir", "dim": 8, "depths": [1], "heads": 2, "window": 4},
    "task": {"name": "superres", "width": 8},
    "training": {"steps": 3, "batch_size": 4, "precision": "32", "evaluate_every": 2, "accelerator": "cpu"},
}


def config(**sections) -> RunConfig:
    return parse(RunConfig, {name: {**BASE[name], **sections.get(name, {})} for name in BASE}, "test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty pairs, as they are published: their numbers far apart, the lists in another order, junk between."""
    rng, root = np.random.default_rng(0), tmp_path / "pairs"
    for part in ("LR", "HR"):
        (root / part).mkdir(parents=True)
        (root / part / ".DS_Store").write_bytes(b"junk")
    for n in rng.permutation(200)[:40]:
        fine = rng.random((1, 16, 16)).astype(np.float32)
        np.save(root / "HR" / f"HR_{n}.npy", fine)
        np.save(root / "LR" / f"LR_{n}.npy", fine.reshape(1, 8, 2, 8, 2).mean((2, 4)))
    return root


def of_folder(folder: Path, **data) -> RunConfig:
    return config(data={"folder": str(folder), "pixels": None, "pairs": "given", **data})


def test_a_run_on_simulated_pairs_is_trained_tested_and_reported(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ARCFORMER_EAGER", "1")
    asked = config()
    check_trainable(asked)
    run = fit(asked, tmp_path / "run", quiet=True)
    assert {"psnr", "ssim", "flux_error", "psnr_bicubic"} <= run.metrics["validation"].keys()
    test = open_test(asked, Path("unused"), count=6, seed=1)
    found = evaluate(run, test, name="test")
    assert {"psnr", "chi2", "coverage_68", "flux_error_bicubic"} <= found.estimates.keys()
    report, numbers = write_report(tmp_path / "report", run, [found])
    assert "Does the uncertainty hold?" in report.read_text()
    assert len(json.loads(numbers.read_text())["tables"]["power_ratio"]) == 16


def test_a_run_on_a_folder_of_pairs_is_trained_and_tested(tmp_path: Path, folder: Path) -> None:
    asked = of_folder(folder)
    check_trainable(asked)
    run = fit(asked, tmp_path / "run", quiet=True)
    test = open_test(asked, tmp_path / "run" / "split.json", count=1, seed=0)
    found = evaluate(run, test, name="test")
    assert found.found["flux_error_bilinear"].value < 1e-5  # brightness in the files is flux in the batch
    assert "chi2" not in found.found
    assert "richardson_lucy" not in found.rivals


def test_files_are_joined_by_number_and_split_by_name(tmp_path: Path, folder: Path) -> None:
    asked = of_folder(folder)
    split_files(asked, tmp_path / "split.json")
    train, validation = open_sources(asked, tmp_path / "split.json")
    batch = train.batch(0)
    assert factor_of(batch) == 2
    assert batch.pixel_scale is not None
    assert batch.pixel_scale.tolist() == pytest.approx([0.1] * 4)  # the finer ones have those of the preset
    assert batch.labels is None
    for source in (train, validation):
        for k in range(source.batches or 0):
            some = source.batch(k)
            assert some.high_res is not None
            blocks = some.high_res.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).sum((3, 5))
            np.testing.assert_allclose(blocks, some.images, rtol=1e-5)
    whole = open_labelled(asked, folder)
    assert factor_of(whole.batch(0)) == 2


def test_images_in_no_class_folder_are_binned(tmp_path: Path, folder: Path) -> None:
    asked = config(data={"folder": str(folder / "HR"), "pixels": None})
    check_trainable(asked)
    split_files(asked, tmp_path / "split.json")
    batch = open_sources(asked, tmp_path / "split.json")[0].batch(0)
    assert batch.images.shape == (4, 1, 8, 8)
    assert batch.labels is None
    assert batch.high_res is not None
    name = batch.ids[0]
    np.testing.assert_array_equal(batch.high_res[0], np.load(folder / "HR" / name))


def test_pairs_that_do_not_belong_together_are_named_or_left_out(tmp_path: Path, folder: Path) -> None:
    np.save(folder / "LR" / "LR_777.npy", np.ones((1, 8, 8)))
    np.save(folder / "LR" / "LR_888.npy", np.ones((1, 8, 8)))
    np.save(folder / "HR" / "HR_888.npy", np.ones((1, 24, 24)))
    np.save(folder / "LR" / "LR_999.npy", np.ones((1, 8, 8)))
    np.save(folder / "HR" / "HR_999.npy", np.ones((1, 17, 17)))
    with pytest.raises(InputError, match=r"LR_777.npy: there is no file of its number, 777, in HR \(and 2 more bad"):
        split_files(of_folder(folder), tmp_path / "split.json")
    bad = split_files(of_folder(folder, skip_bad=True), tmp_path / "split.json")
    words = ("no file of its number, 777", "is 3 times as fine as", "not a whole multiple")
    assert all(any(part in line for line in bad) for part in words)
    assert len(json.loads((tmp_path / "split.json").read_text())) == 3
    (folder / "LR" / "LR_777.npy").unlink()
    other = config(data={"folder": str(folder), "pixels": None, "pairs": "given"}, task={"factor": 4})
    with pytest.raises(InputError, match=r"is 2 times as fine as .*task.factor is 4"):
        split_files(other, tmp_path / "other.json")


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"transform": {"scaling": "asinh"}}, "superres: pixels under a coarser one add up.*set it to linear"),
        ({"task": {"factor": 3}}, "factor is 3; it can be 2 or 4"),
        (
            {"data": {"folder": "nowhere", "pixels": None, "pairs": "given"}},
            "nowhere holds no pairs.*data.pairs to binned",
        ),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(sections, words) -> None:
    with pytest.raises(InputError, match=words):
        check_trainable(config(**sections))


def test_pairs_for_a_task_that_has_no_use_for_them_are_refused() -> None:
    tree = {"data": {"pairs": "binned"}, "task": {"name": "classify"}}
    with pytest.raises(InputError, match=r"data.pairs: task classify learns of no pairs"):
        check_trainable(parse(RunConfig, tree, "test"))


def test_classes_cannot_be_chosen_among_pairs_of_files(folder: Path) -> None:
    with pytest.raises(InputError, match=r"data.labels and data.only choose by class"):
        check_trainable(of_folder(folder, only=["cdm"]))

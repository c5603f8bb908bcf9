"""A run that is killed and resumed ends as the run left alone, bit for bit."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import TINY, Runs

from arcformer.training.resume import ResumeFiles, resume_files

STEPS = 30
OVERRIDES = [f"training.steps={STEPS}", "training.evaluate_every=7", "training.save_every=4", "data.workers=1"]
KILLED = [-signal.SIGKILL]

MOMENTS = random.Random(20240229)
INSIDE_STEPS = [{"environment": {"TINY_KILL_AT": str(step)}} for step in MOMENTS.sample(range(1, STEPS + 1), 3)]
FROM_OUTSIDE = [{"kill_after_lines": MOMENTS.randrange(1, STEPS // 2)}]
WHILE_WRITING = [{"tear": MOMENTS.randrange(2, STEPS // 4)}]


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def left_alone(forked: Runs, recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("left_alone") / "run"
    assert forked(recipe=recipe_file, overrides=OVERRIDES, folder=folder) == [0]
    return folder


@pytest.mark.parametrize("death", INSIDE_STEPS + FROM_OUTSIDE + WHILE_WRITING, ids=str)
def test_a_killed_run_ends_with_the_same_bits(
    death: dict, forked: Runs, recipe_file: Path, left_alone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    job = {"recipe": recipe_file, "overrides": OVERRIDES, "folder": folder}
    assert forked(**job, **death) == KILLED
    assert not (folder / "metrics.json").exists()
    assert bool(list((folder / "resume").glob("*.part"))) == ("tear" in death)

    assert forked(**job, resume=True) == [0]
    weights, expected = (load_file(run / "model.safetensors") for run in (folder, left_alone))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert history(folder) == history(left_alone)
    metrics, of_the_other = (json.loads((run / "metrics.json").read_text()) for run in (folder, left_alone))
    for name in ("validation", "best_step", "images_seen"):
        assert metrics[name] == of_the_other[name]


def history(folder: Path) -> list[dict]:
    """The log without what the clock says."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in line if name not in ("seconds", "images_per_second")} for line in lines]


def write(folder: Path, steps: list[int]) -> None:
    for step in steps:
        ResumeFiles().save_checkpoint({"step": step, "x": torch.arange(1000.0)}, folder / f"step-{step:09d}.pt")


def test_the_last_two_resume_files_are_kept(tmp_path: Path) -> None:
    write(tmp_path, [5, 10, 100])
    assert [file.name for file in resume_files(tmp_path)] == ["step-000000010.pt", "step-000000100.pt"]
    assert ResumeFiles().load_checkpoint(tmp_path)["step"] == 100


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_resume_file_is_passed_over(tmp_path: Path, damage: str) -> None:
    write(tmp_path, [5, 10])
    newest = resume_files(tmp_path)[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= damage == "flipped"
    newest.write_bytes({"cut": content[: len(content) // 2], "flipped": content, "empty": b""}[damage])
    with pytest.warns(UserWarning, match=r"step-000000010\.pt is damaged"):
        assert ResumeFiles().load_checkpoint(tmp_path)["step"] == 5


def test_a_pickle_that_runs_code_is_not_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "it ran",))

    torch.save({"trap": Trap()}, tmp_path / "step-000000001.pt")
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(FileNotFoundError):
        ResumeFiles().load_checkpoint(tmp_path)
    assert not (tmp_path / "it ran").exists()

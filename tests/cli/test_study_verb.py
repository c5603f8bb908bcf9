"""study: what there is to do, what was done, and how to go on; all that the runs are is tested in tests/studies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w
from shell import SIMULATED, Command

from arcformer.studies.study import ContrastSection, Study, TestSection
from arcformer.tasks import TASKS

OVERRIDES = [f"run.{override}" for override in (*SIMULATED, "data.pixels=24")]


def with_axes(**axes: list) -> Path:
    Path("mine.toml").write_text(tomli_w.dumps(Study(axes=axes).model_dump(exclude_none=True)))
    return Path("mine.toml")


def test_a_dry_run_lists_the_runs_and_leaves_nothing(arcformer: Command) -> None:
    ended = arcformer("study", with_axes(seed=[1, 2], augment=["none", "half-turn"]), *OVERRIDES, "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.endswith("4 runs: 4 to do\n")
    assert ended.out.count("to do   seed-") == 4
    assert [path.name for path in Path().iterdir()] == ["mine.toml"]


def test_faults_of_all_runs_are_said_in_a_line_each(arcformer: Command) -> None:
    ended = arcformer("study", with_axes(sede=[1, 2], backbone=["vti"]))
    assert (ended.code, ended.out) == (2, "")
    assert "sede: unknown field; did you mean 'seed'?" in ended.err
    assert "backbone: unknown backbone 'vti': did you mean 'vit'?" in ended.err
    assert [path.name for path in Path().iterdir()] == ["mine.toml"]


def test_a_dry_run_looks_at_the_folder_too(arcformer: Command) -> None:
    Path("other").mkdir()
    Path("other/notes.txt").write_text("mine")
    ended = arcformer("study", with_axes(seed=[1]), *OVERRIDES, "--dry-run", "--out", "other")
    assert (ended.code, ended.out) == (2, "")
    assert "other is not empty and holds no mine.toml" in ended.err


def test_a_study_its_table_and_the_code_of_a_failure(arcformer: Command) -> None:
    words = ["study", with_axes(**{"training.strategy": ["none", "auto"]}), *OVERRIDES]
    ended = arcformer(*words)
    assert ended.code == 1
    assert "none: failed: training.accelerator, devices, num_nodes, strategy: " in ended.err
    assert "--retry" in ended.err
    assert "validation_auroc" in ended.out
    assert "2 runs: 1 failed, 1 done\ntables: mine/results.csv, mine/results.json\n" in ended.out
    assert json.loads(Path("mine/results.json").read_text())
    again = arcformer(*words)
    assert (again.code, again.out) == (1, ended.out)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_study_says_that_the_same_command_goes_on(
    arcformer: Command, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals
) -> None:
    words = ["study", with_axes(seed=[1]), *OVERRIDES]
    with monkeypatch.context() as patch:
        patch.setattr(TASKS.get("classify"), "after_step", lambda *_: signal.raise_signal(sent))
        ended = arcformer(*words)
    assert ended.code == 130
    assert "interrupted; 1 run: 1 begun; the same command goes on: arcformer study mine.toml" in ended.err
    assert arcformer(*words).code == 0


@pytest.mark.slow
def test_two_processes_share_a_study(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "arcformer", "study", with_axes(seed=[1, 2, 3, 4]), *OVERRIDES]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    both = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    said = "".join(process.communicate()[1] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert said.count("done in") == 4
    assert len(list(tmp_path.glob("mine/runs/*/run/metrics.json"))) == 4


def test_differences_are_told_as_they_are_written(arcformer: Command) -> None:
    asked = Study(
        axes={"training.rate": [1e-3, 2e-3], "seed": [1]},
        test=TestSection(count=30),
        contrast=ContrastSection(axis="training.rate", against="0.001"),
    )
    Path("mine.toml").write_text(tomli_w.dumps(asked.model_dump(exclude_none=True)))
    ended = arcformer("study", "mine.toml", *OVERRIDES)
    assert ended.code == 0
    rows = json.loads(Path("mine/contrasts.json").read_text())
    assert [row["name"] for row in rows] == [
        f"difference {metric} 0.002 minus 0.001, 1 seed" for metric in ("auroc", "accuracy")
    ]
    assert f"{rows[0]['value']:+.3f} [{rows[0]['low']:+.3f}, {rows[0]['high']:+.3f}]" in ended.out

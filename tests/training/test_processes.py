"""Two processes on one machine (gloo): every batch once, metrics over the whole set, one folder."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tiny import HERE, TINY, Runs

STEPS = 6
OVERRIDES = ["training.devices=2", "training.strategy=ddp", f"training.steps={STEPS}", "training.evaluate_every=3"]


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    (tmp_path / "record").mkdir()
    return path


def ranks() -> list[dict[str, str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]


def check(folder: Path, record: Path) -> None:
    seen = [Counter(int(name.split("/")[-2]) for name in file.read_text().split()) for file in record.iterdir()]
    assert sorted(sorted(batches) for batches in seen) == [
        [2 * s for s in range(STEPS)],
        [2 * s + 1 for s in range(STEPS)],
    ]
    assert set((seen[0] + seen[1]).values()) == {8}  # each with all of its images, once
    metrics = json.loads((folder / "metrics.json").read_text())  # by one process, of the whole set, at the best step
    assert metrics["processes"] == 2
    assert metrics["images_seen"] == 2 * 8 * STEPS
    assert metrics["validation"]["images"] == 40
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    validated = {line["step"]: line["validation"] for line in log if "validation" in line}
    assert set(validated) == {3, 6}
    assert validated[metrics["best_step"]] == pytest.approx(metrics["validation"], rel=1e-5)


def test_two_processes_share_the_batches_and_the_validation(forked: Runs, recipe_file: Path, tmp_path: Path) -> None:
    overrides = [*OVERRIDES, f"task.record={tmp_path / 'record'}"]
    folder = tmp_path / "run"
    assert forked(recipe=recipe_file, overrides=overrides, folder=folder, ranks=ranks()) == [0, 0]
    check(folder, tmp_path / "record")


def test_two_processes_resume(forked: Runs, recipe_file: Path, tmp_path: Path) -> None:
    job = {"recipe": recipe_file, "overrides": [*OVERRIDES, "training.save_every=2"]}
    assert forked(**job, folder=tmp_path / "alone", ranks=ranks()) == [0, 0]
    killed = [rank | {"TINY_KILL_AT": "5"} for rank in ranks()]
    assert forked(**job, folder=tmp_path / "run", ranks=killed) == [-9, -9]
    assert forked(**job, folder=tmp_path / "run", ranks=ranks(), resume=True) == [0, 0]
    alone, resumed = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("alone", "run"))
    assert resumed == alone


def test_a_validation_set_smaller_than_the_ranks_is_refused(forked: Runs, recipe_file: Path, tmp_path: Path) -> None:
    job = {"recipe": recipe_file, "overrides": [*OVERRIDES, "data.validation=8"], "folder": tmp_path / "run"}
    assert forked(**job, ranks=ranks()) == [1, 1]


@pytest.mark.slow
def test_torchrun(recipe_file: Path, tmp_path: Path) -> None:
    overrides = [*OVERRIDES, f"task.record={tmp_path / 'record'}"]
    script = tmp_path / "train.py"
    script.write_text(
        "from arcformer.config import read\nfrom arcformer.training import RunConfig, fit\n"
        f"fit(read(RunConfig, {str(recipe_file)!r}, {overrides!r}), {str(tmp_path / 'run')!r})\n"
    )
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"ARCFORMER_EAGER": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    subprocess.run(command, check=True, env=environment)
    check(tmp_path / "run", tmp_path / "record")

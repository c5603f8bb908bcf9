"""Runs that take a second: a tiny network on 16 central pixels of Model I, eagerly rendered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny import HERE, TINY, Runs

from arcformer.config import read
from arcformer.training import RunConfig


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCFORMER_EAGER", "1")
    monkeypatch.syspath_prepend(HERE)


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., RunConfig]:
    """The tiny configuration with overrides, as ``recipe("training.steps=5")``."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return lambda *overrides: read(RunConfig, path, overrides)


@pytest.fixture(scope="session")
def forked() -> Iterator[Runs]:
    """``forked(recipe=..., folder=..., ...)`` fits in processes of its own and returns how they ended (forked.py)."""
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"ARCFORMER_EAGER": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    server = subprocess.Popen(
        [sys.executable, HERE / "forked.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert server.stdin
    assert server.stdout

    def run(**job: Any) -> list[int]:
        server.stdin.write(json.dumps(job, default=str) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    yield run
    server.stdin.write("\n")  # that it is closed is not seen where workers of a loader, forked since, hold it open
    server.stdin.close()
    server.wait()

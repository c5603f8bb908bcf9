"""The command line run in this process, and a run for it to look at."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import SIMULATED, Command, Ended

from arcformer.cli import main


@pytest.fixture
def arcformer(capsys: pytest.CaptureFixture[str]) -> Command:
    """``arcformer("train", "--out", "run")`` as a shell would run it, in the current folder."""

    def run(*words: object) -> Ended:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Ended(code, *capsys.readouterr())

    return run


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARCFORMER_EAGER", "1")
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Ctrl-C interrupts, also where the tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on simulated images; not to be written to."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCFORMER_EAGER", "1")
        assert main(["train", "--out", str(folder), *SIMULATED]) == 0
    return folder

"""doctor: says in words what is wrong, and fails only where something is missing that is needed."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest
from shell import Command

from arcformer.cli import checkup


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch):
    """``pretend(package="1.0")``: this version of it is installed, or None: it is not."""

    def installed(**versions: str | None) -> None:
        true = importlib.metadata.version

        def version(package: str) -> str:
            found = versions[package] if package in versions else true(package)
            if found is None:
                raise importlib.metadata.PackageNotFoundError(package)
            return found

        monkeypatch.setattr("importlib.metadata.version", version)

    return installed


def test_a_whole_installation(arcformer: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARCFORMER_SAMPLES", raising=False)
    ended = arcformer("doctor")
    assert (ended.code, ended.err) == (0, "")
    for subject in ("python", "packages", "torch", "bf16", "torch.compile", "torchvision", "sample data", "disk"):
        assert subject in ended.out
    assert "ARCFORMER_EAGER" in ended.out
    assert "ARCFORMER_SAMPLES is not set" in ended.out
    assert "check itself failed" not in ended.out


def test_a_needed_package_that_is_missing_or_too_old(arcformer: Command, pretend) -> None:
    pretend(caustics=None, astropy="5.3", torchvision=None)
    ended = arcformer("doctor")
    assert ended.code == 1
    assert 'caustics      not installed; pip install "caustics' in ended.out
    assert 'astropy       5.3; pip install "astropy>=6"' in ended.out


def test_an_extra_that_is_missing_is_a_note(arcformer: Command, pretend) -> None:
    pretend(transformers=None, torchvision=None)
    ended = arcformer("doctor")
    assert ended.code == 0
    assert 'note    extra hf      without transformers: pip install "arcformer[hf]"' in ended.out


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("", "ok      torchvision   0.99"),
        ("raise RuntimeError('operator torchvision::nms does not exist')", "torchvision::nms does not exist. It is"),
        ("import os; os.abort()", "is broken beside torch"),
    ],
    ids=["fine", "raises", "takes its process with it"],
)
def test_torchvision(pretend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str, said: str) -> None:
    (tmp_path / "torchvision.py").write_text(module)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pretend(torchvision="0.99")
    (found,) = checkup.torchvision()
    assert said in f"{found.state:<8}{found.subject:<14}{found.text}"
    assert ("pip uninstall torchvision" in found.text) == (found.state == "note")


def test_sample_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "lenses").mkdir()
    monkeypatch.setenv("ARCFORMER_SAMPLES", str(tmp_path))
    (found,) = checkup.samples()
    assert (found.state, found.text) == ("ok", f"{tmp_path}: lenses")
    monkeypatch.setenv("ARCFORMER_SAMPLES", str(tmp_path / "gone"))
    (found,) = checkup.samples()
    assert (found.state, found.text.endswith("which is no folder")) == ("note", True)


def test_a_check_that_fails_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: 1 / 0)
    found = list(checkup.checkup())
    assert found[-1].state == "missing"
    assert "ZeroDivisionError" in found[-1].text
    assert {finding.subject for finding in found} >= {"python", "torch", "sample data"}

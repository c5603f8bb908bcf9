"""Run folders that cannot be loaded say why."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from arcformer.errors import InputError
from arcformer.training import fit, load


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"folder": tmp_path_factory.mktemp("model") / "run"}


@pytest.fixture
def run(model: dict[str, Path], recipe: Callable, tmp_path: Path) -> Path:
    if not model["folder"].exists():
        fit(recipe("training.steps=2"), model["folder"])
    return Path(shutil.copytree(model["folder"], tmp_path / "run"))


def test_it_loads(run: Path) -> None:
    assert load(run).folder == run


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("config.toml", "is not the folder of a run: it holds no config.toml"),
        ("metrics.json", "is not finished: it holds no metrics.json; resume it"),
        ("model.safetensors", "holds no weights"),
        ("transform.json", "holds no transform"),
        ("domain.json", "holds no domain"),
    ],
)
def test_a_missing_file_is_named(run: Path, file: str, said: str) -> None:
    (run / file).unlink()
    with pytest.raises(InputError, match=said):
        load(run)


@pytest.mark.parametrize("file", ["model.safetensors", "transform.json", "domain.json", "metrics.json"])
def test_a_cut_off_file_is_named(run: Path, file: str) -> None:
    content = (run / file).read_bytes()
    (run / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=file):
        load(run)


def test_weights_of_another_network_are_refused(run: Path) -> None:
    config = (run / "config.toml").read_text()
    (run / "config.toml").write_text(config.replace("width = 8", "width = 16"))
    with pytest.raises(InputError, match=r"does not hold the weights of the network in config\.toml"):
        load(run)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        load(tmp_path / "nowhere")

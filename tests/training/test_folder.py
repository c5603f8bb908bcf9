"""Run folders that cannot be loaded say why."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

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


@pytest.mark.parametrize(
    ("width", "stored", "said"),
    [
        (
            16,
            {},
            r"3 have another shape, as backbone\.stem\.weight, \(8, 1, 4, 4\) there and \(16, 1, 4, 4\) in",
        ),
        (8, {"head.weight": "head.wieght"}, r"1 are missing, as head\.weight; head\.wieght is there, 1 have no place"),
        (8, {"head.bias": None}, r"1 are missing, as head\.bias$"),
    ],
)
def test_weights_of_another_network_are_refused(run: Path, width: int, stored: dict, said: str) -> None:
    config = (run / "config.toml").read_text()
    (run / "config.toml").write_text(config.replace("width = 8", f"width = {width}"))
    with safe_open(run / "model.safetensors", "pt") as file:
        names = {name: stored.get(name, name) for name in file.keys()}  # noqa: SIM118
        weights = {new: file.get_tensor(old) for old, new in names.items() if new is not None}
        save_file(weights, run / "other.safetensors", file.metadata())
    (run / "other.safetensors").replace(run / "model.safetensors")
    with pytest.raises(
        InputError, match=rf"does not hold the weights of the network in config\.toml: of 6 .*{said}"
    ) as caught:
        load(run)
    assert "\n" not in str(caught.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        load(tmp_path / "nowhere")

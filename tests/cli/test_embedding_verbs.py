"""``embed`` and ``similar``: from files to features, and to those that are most like another."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from shell import Command

import arcformer
from arcformer.embed import nearest
from arcformer.sim.render import simulate
from arcformer.training.start import digest_of


@pytest.fixture
def cutouts(tmp_path: Path) -> Path:
    """Five lenses, one of them twice."""
    images = simulate("deeplense/model-2", 5, seed=5, pixels=32).images[:, 0].numpy()
    (tmp_path / "cutouts").mkdir()
    for k, image in enumerate([*images, images[2] * 1.0001]):
        np.save(tmp_path / "cutouts" / f"{k}.npy", image)
    return tmp_path / "cutouts"


def read(path: str) -> tuple[torch.Tensor, dict[str, str], list[dict[str, str]]]:
    with safe_open(path, "pt") as file:
        features, about = file.get_tensor("features"), json.loads(file.metadata()["embedding"])
    return features, about, list(csv.DictReader(Path(path).with_suffix(".csv").open()))


def test_a_row_for_every_file_and_its_name_beside_it(arcformer_: Command, trained: Path, cutouts: Path) -> None:
    ended = arcformer_("embed", trained, cutouts, "--out", "f.safetensors")
    assert ended.code == 0, ended.err
    features, about, rows = read("f.safetensors")
    run = arcformer.load(trained)
    assert about == {"run": str(trained), "weights": digest_of(run.task.backbone.state_dict())}
    assert [row["row"] for row in rows] == [str(k) for k in range(6)]
    assert [Path(row["file"]).name for row in rows] == [f"{k}.npy" for k in range(6)]
    assert features.shape == (6, run.task.backbone.dim)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features[2], features[5], atol=1e-2, rtol=1e-2)
    assert not torch.allclose(features[1], features[2], atol=1e-2, rtol=1e-2)
    alone = arcformer_("embed", trained, cutouts / "3.npy", "--out", "one.safetensors")
    assert alone.code == 0
    torch.testing.assert_close(read("one.safetensors")[0][0], features[3])


def test_nothing_is_overwritten_without_a_word(arcformer_: Command, trained: Path, cutouts: Path) -> None:
    Path("f.csv").write_text("years of work")
    ended = arcformer_("embed", trained, cutouts, "--out", "f.safetensors")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "f.csv is there, and nothing is overwritten" in ended.err
    assert not Path("f.safetensors").exists()
    assert arcformer_("embed", trained, cutouts, "--out", "f.safetensors", "--force").code == 0
    assert "years" not in Path("f.csv").read_text()
    Path("p.png").write_text("a picture")
    ended = arcformer_("similar", trained, cutouts / "2.npy", cutouts, "--out", "p.png")
    assert (ended.code, Path("p.png").read_text()) == (2, "a picture")


def test_bad_files_are_left_out_when_asked(arcformer_: Command, trained: Path, cutouts: Path) -> None:
    (cutouts / "1.npy").write_text("hello")
    ended = arcformer_("embed", trained, cutouts, "--out", "f.safetensors")
    assert ended.code == 2
    assert "1.npy" in ended.err
    assert not Path("f.safetensors").exists()
    ended = arcformer_("embed", trained, cutouts, "--out", "f.safetensors", "--skip-bad")
    assert ended.code == 0
    assert "1 bad file left out" in ended.err
    features, _, rows = read("f.safetensors")
    assert len(features) == len(rows) == 5
    assert Path(rows[1]["file"]).name == "2.npy"


def test_the_most_similar_come_first_and_the_image_is_not_its_own(
    arcformer_: Command, trained: Path, cutouts: Path
) -> None:
    ended = arcformer_("similar", trained, cutouts / "2.npy", cutouts, "--out", "near/p.png", "--count", "3")
    assert ended.code == 0, ended.err
    rows = list(csv.DictReader(io.StringIO(ended.out)))
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert Path(rows[0]["file"]).name == "5.npy"
    cosines = [float(row["cosine"]) for row in rows]
    assert cosines == sorted(cosines, reverse=True)
    assert not any(row["file"].endswith("2.npy") for row in rows)
    assert Path("near/p.png").read_bytes().startswith(b"\x89PNG")
    assert "near/p.png" in ended.err


def test_cosines_are_those_of_the_vectors() -> None:
    torch.manual_seed(0)
    one, others = torch.randn(4), torch.randn(7, 4)
    rows, cosines = nearest(one, others, 3)
    expected = (others @ one / one.norm() / others.norm(dim=1)).double()
    assert rows.tolist() == expected.argsort(descending=True)[:3].tolist()
    torch.testing.assert_close(cosines, expected[rows], atol=1e-6, rtol=1e-6)
    assert len(nearest(one, others, 50)[0]) == 7


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["embed", "no-run", "a.npy", "--out", "f.safetensors"], "no-run: no such folder"),
        (["embed", "no-run", "a.npy", "--out", "f.npy"], "ends with .safetensors"),
        (["embed", "no-run", "a.npy"], "--out"),
        (["similar", "no-run", "a.npy", "nowhere", "--out", "p.png"], "nowhere: no such file or folder"),
        (["similar", "no-run", "a.npy", ".", "--out", "p.pdf"], "ends with .png"),
        (["similar", "no-run", "a.npy", ".", "--out", "p.png", "--count", "0"], "--count"),
        (["similar", "no-run", ".", ".", "--out", "p.png"], "is a folder; expected the one image"),
    ],
    ids=" ".join,
)
def test_mistakes_are_said_in_a_line(arcformer_: Command, words: list[str], said: str) -> None:
    ended = arcformer_(*words)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert said in ended.err
    assert not list(Path().iterdir())


def test_an_image_alone_has_nothing_to_be_like(arcformer_: Command, cutouts: Path) -> None:
    ended = arcformer_("similar", "no-run", cutouts / "2.npy", cutouts / "2.npy", "--out", "p.png")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "no image but" in ended.err


@pytest.fixture
def arcformer_(request: pytest.FixtureRequest) -> Command:
    """The command line; under another name, as the package is needed beside it."""
    return request.getfixturevalue("arcformer")

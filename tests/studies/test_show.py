"""The picture of a preset, a store, a folder and a file: how many images, in which rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from arcformer.data.store import write_store
from arcformer.errors import InputError
from arcformer.studies.show import show


def images(figure: Figure) -> int:
    """How many pictures there are, colour bars not counted."""
    return sum(len(axes.images) for axes in figure.axes)


def labels(figure: Figure) -> list[str]:
    return [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]


@pytest.mark.parametrize("behind", [[], ["convergence"], ["source", "convergence"]], ids=str)
def test_a_preset_has_a_row_for_each_class_and_for_what_is_behind(behind: list[str]) -> None:
    figure = show("corrected/model-2", count=2, pixels=32, behind=behind)
    assert images(figure) == 3 * 2 * (1 + len(behind))
    assert [label for label in labels(figure) if label in ("no_sub", "cdm", "axion")] == ["no_sub", "cdm", "axion"]


def test_a_store_is_shown_as_it_was_simulated(tmp_path: Path) -> None:
    write_store("deeplense/model-2", tmp_path / "store", count=9, seed=1, pixels=32)
    assert images(show(tmp_path / "store", count=2, behind=["convergence"])) == 3 * 2 * 2
    with pytest.raises(InputError, match="pixel_scale: for files"):
        show(tmp_path / "store", pixel_scale=0.1)


def test_folders_are_rows_and_a_file_is_a_portrait(tmp_path: Path) -> None:
    for name in ("cdm", "no_sub"):
        (tmp_path / name).mkdir()
        for k in range(3):
            np.save(tmp_path / name / f"{k}.npy", np.random.default_rng(k).normal(size=(16, 16)))
    assert images(show(tmp_path, count=2)) == 4
    assert images(show(tmp_path / "cdm", count=2)) == 3  # of one folder, in two rows
    assert images(show(tmp_path / "cdm" / "0.npy", pixel_scale=0.05)) == 1
    with pytest.raises(InputError, match="known of a preset or a store only"):
        show(tmp_path, behind=["source"])


@pytest.mark.parametrize(
    ("what", "options", "said"),
    [
        ("deeplense/modle-1", {}, "did you mean 'deeplense/model-1'"),
        ("lens.fits", {}, "lens.fits: no such file or folder"),
        ("deeplense/model-2", {"count": 0}, "count is 0"),
        ("deeplense/model-2", {"behind": ["lens"]}, "no 'lens'; choose from convergence, source"),
        ("deeplense/model-2", {"band": "VIS"}, "band: for files"),
        ("deeplense/model-2", {"pixels": 33}, "33 central pixels"),
    ],
)
def test_what_cannot_be_shown(what: str, options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        show(what, **options)

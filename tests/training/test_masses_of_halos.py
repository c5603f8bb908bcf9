"""The public regression of halo masses from files as they are: a flat folder of ``[image, mass]``, to a prediction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import arcformer
from arcformer.data.export import export_deeplense
from arcformer.data.npy import read_npy
from arcformer.data.store import write_store
from arcformer.errors import InputError
from arcformer.predict import predict
from arcformer.training import RunConfig, fit
from arcformer.training.sources import open_test

Recipe = Callable[..., RunConfig]

TARGET = "log10_halo_mass"


@pytest.fixture
def lens_data(tmp_path: Path) -> Path:
    """Sixty files, without class folders."""
    write_store("deeplense/halo-mass", tmp_path / "store", count=60, seed=1, pixels=16)
    export_deeplense(tmp_path / "store", tmp_path / "files")
    return (tmp_path / "files" / "no_sub").rename(tmp_path / "lens_data")


def masses(recipe: Recipe, folder: Path, *more: str) -> RunConfig:
    """The tiny run, on a folder of halo masses."""
    data = {"preset": "deeplense/halo-mass", "folder": str(folder), "workers": 0}
    given = recipe("task.name=regress", f'task.targets=["{TARGET}"]', *more).model_dump()
    return RunConfig.model_validate(given | {"data": data})


def test_a_flat_folder_is_trained_on_tested_on_and_predicted(recipe: Recipe, lens_data: Path, tmp_path: Path) -> None:
    config = masses(recipe, lens_data)
    run = fit(config, tmp_path / "run")
    assert run.classes == ("no_sub",)
    assert run.task.targets == (TARGET,)
    test = open_test(config, tmp_path / "run" / "split.json", count=1, seed=0)
    batch = test.batch(0)
    for name, found in zip(batch.ids, batch.targets[:, 0].tolist(), strict=True):
        image, mass = read_npy(lens_data / name).tolist()
        assert found == pytest.approx(np.log10(mass))
        assert image.shape == (16, 16)
        assert 3e11 <= mass <= 3e12
    found = predict(arcformer.load(tmp_path / "run"), [lens_data / name for name in batch.ids[:2]]).found
    assert [one.row.keys() >= {TARGET} for one in found] == [True, True]
    assert torch.tensor([one.row[TARGET] for one in found]).isfinite().all()


def test_a_file_without_its_mass_is_named_before_training(recipe: Recipe, lens_data: Path, tmp_path: Path) -> None:
    np.save(lens_data / "plain.npy", np.ones((16, 16)))
    with pytest.raises(
        InputError, match=r"name what is to be estimated in task\.targets; images of deeplense/halo-mass"
    ):
        fit(masses(recipe, lens_data, "task.targets=[]"), tmp_path / "run")
    with pytest.raises(InputError, match=r"plain\.npy holds no log10_halo_mass to be learned"):
        fit(masses(recipe, lens_data), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    config = masses(recipe, lens_data)
    skipping = config.model_copy(update={"data": config.data.model_copy(update={"skip_bad": True})})
    fit(skipping, tmp_path / "run")
    assert "plain.npy" in (tmp_path / "run" / "skipped.txt").read_text()


def test_masses_of_halos_are_no_masses_of_axions(recipe: Recipe, lens_data: Path, tmp_path: Path) -> None:
    given = masses(recipe, lens_data).model_dump()
    given["data"] |= {"preset": "deeplense/model-1", "only": ["axion"]}
    with pytest.raises(
        InputError, match=r"is no axion mass in eV; take the preset of its data, as deeplense/halo-mass"
    ):
        fit(RunConfig.model_validate(given), tmp_path / "run")

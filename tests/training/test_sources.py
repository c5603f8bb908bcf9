"""Where batches come from: simulated, files or a store; and that the images of the test are in no other part."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from arcformer.config import read
from arcformer.data.export import export_deeplense
from arcformer.data.store import write_store
from arcformer.errors import InputError
from arcformer.training import RunConfig
from arcformer.training.sources import open_labelled, open_sources, open_test, split_files

COUNT = 60


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCFORMER_EAGER", "1")
        write_store("deeplense/model-2", folder, count=COUNT, seed=3, pixels=16, shard=32)
    return folder


@pytest.fixture(scope="module")
def files(store: Path) -> Path:
    return export_deeplense(store, store.parent / "files").parent / "files"


def config(*overrides: str) -> RunConfig:
    return read(RunConfig, overrides=["data.preset=deeplense/model-2", "training.batch_size=8", *overrides])


def images(source, batches: int | None = None) -> torch.Tensor:
    """All images of a source, or of its first batches, each as a row."""
    count = source.batches if batches is None else batches
    return torch.cat([source.batch(k).images for k in range(count)]).flatten(1)


def shared(first: torch.Tensor, second: torch.Tensor) -> int:
    """How many images of the one are in the other."""
    return int((first[:, None] == second).all(dim=2).sum())


def test_no_seed_gives_a_simulated_training_image_in_the_test() -> None:
    run = config("seed=5", "data.pixels=16", "data.validation=24")
    train, validation = open_sources(run, Path("unused"))
    seen = torch.cat([images(train, 6), images(validation)])
    for seed in (5, 6):
        test = open_test(run, Path("unused"), count=20, seed=seed)
        assert test.batches == 3
        assert len(found := images(test)) == 20
        assert shared(found, seen) == 0
        assert shared(found, found) == 20
        assert shared(found, images(open_test(run, Path("unused"), count=20, seed=seed + 1))) == 0


@pytest.mark.parametrize("kind", ["store", "files"])
def test_the_parts_of_a_folder_share_no_image_and_leave_none_out(kind: str, request, tmp_path: Path) -> None:
    folder = request.getfixturevalue(kind)
    run = config(f"data.folder={folder}")
    assert split_files(run, tmp_path / "split.json") == ()
    train, validation = open_sources(run, tmp_path / "split.json")
    test = open_test(run, tmp_path / "split.json", count=1, seed=0)
    parts = [images(part) for part in (train, validation, test)]
    assert len(torch.cat(parts)) == len(torch.cat(parts).unique(dim=0)) == COUNT
    assert min(map(len, parts)) > 0
    assert train.batch(0).classes == ("no_sub", "cdm", "axion")
    assert train.batch(0).unit == test.batch(0).unit == "e-/s, doubled"
    assert train.batch(0).pixel_scale.tolist() == pytest.approx([0.101] * 8)
    assert not torch.equal(images(train), images(train, 2 * train.batches)[len(parts[0]) :])  # another order


def test_a_store_and_its_files_hold_the_same_images(store: Path, files: Path) -> None:
    one, other = (open_labelled(config(), folder) for folder in (store, files))
    assert len(one) == len(other) == COUNT
    assert shared(images(one), images(other)) == COUNT


def test_a_store_of_another_preset_is_refused(store: Path, tmp_path: Path) -> None:
    run = config(f"data.folder={store}", "data.preset=deeplense/model-3")
    with pytest.raises(InputError, match=r"holds images of deeplense/model-2, and data\.preset is deeplense/model-3"):
        split_files(run, tmp_path / "split.json")
    assert not (tmp_path / "split.json").exists()


def test_an_image_that_has_gone_is_named(store: Path, tmp_path: Path) -> None:
    export_deeplense(store, tmp_path / "files")
    run = config(f"data.folder={tmp_path / 'files'}")
    split_files(run, tmp_path / "split.json")
    gone = next((tmp_path / "files" / "cdm").glob("*.npy"))
    gone.unlink()
    with pytest.raises(InputError, match=f"1 images of the split are not there, the first is cdm/{gone.name}"):
        open_test(run, tmp_path / "split.json", count=1, seed=0)


def test_labelled_images_and_what_was_left_out_of_them(store: Path, tmp_path: Path) -> None:
    export_deeplense(store, tmp_path / "files")
    (tmp_path / "files" / "cdm" / "words.npy").write_text("hello")
    (tmp_path / "files" / "README").write_text("hello")
    with pytest.raises(InputError, match=r"words\.npy"):
        open_labelled(config(), tmp_path / "files")
    found = open_labelled(config(), tmp_path / "files", skip_bad=True)
    assert (len(found), len(found.catalogue.bad), found.catalogue.junk) == (COUNT, 1, 1)


@pytest.mark.parametrize("kind", ["store", "files"])
def test_few_labels_of_a_folder_are_as_many_of_each_class_and_the_same_for_all(
    kind: str, request, tmp_path: Path
) -> None:
    folder, split = request.getfixturevalue(kind), tmp_path / "split.json"
    split_files(config(f"data.folder={folder}"), split)
    whole, validation = open_sources(config(f"data.folder={folder}"), split)

    def ids(*overrides: str) -> list[str]:
        source, same = open_sources(config(f"data.folder={folder}", *overrides), split)
        assert len(same) == len(validation)
        batches = [source.batch(k) for k in range(source.batches)]
        labels = torch.cat([batch.labels for batch in batches])
        assert torch.bincount(labels, minlength=3).unique().tolist() == [len(labels) // 3]
        return [name for batch in batches for name in batch.ids]

    few, more = ids("data.labels=4"), ids("data.labels=8")
    assert len(few) == 12
    assert set(few) < set(more) < {name for k in range(whole.batches) for name in whole.batch(k).ids}
    assert ids("data.labels=4", "training.batch_size=5", "data.subset_seed=0") == few
    assert set(ids("data.labels=4", "seed=1")) != set(few)
    assert ids("data.labels=4", "seed=1", "data.subset_seed=0") == few
    with pytest.raises(InputError, match=r"data\.labels is 40, and the training part holds \d+ images of no_sub"):
        ids("data.labels=40")


def test_simulated_sets_do_not_depend_on_the_batch_and_are_not_validated_on() -> None:
    run = ("data.pixels=16", "data.labels=5", "data.validation=24")
    one, validation = open_sources(config(*run), Path("unused"))
    other, _ = open_sources(config(*run, "training.batch_size=3", "seed=4", "data.subset_seed=0"), Path("unused"))
    assert len(images(one)) == 15
    assert torch.equal(images(one), images(other))
    assert shared(images(one), images(validation)) == 0


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.count=8", "data.labels=3"], "count is 8, which does not hold labels = 3 images of each of 3 classes"),
        (["data.count=8", "data.folder=x"], "count: for simulated images"),
        (["data.subset_seed=3"], "set one of these too"),
    ],
)
def test_sets_that_cannot_be_are_said_in_a_line(overrides: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        config(*overrides)

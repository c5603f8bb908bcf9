"""Where batches come from: simulated, files or a store; and that the images of the test are in no other part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from arcformer.config import read
from arcformer.data.export import export_deeplense
from arcformer.data.store import write_store
from arcformer.errors import InputError
from arcformer.training import RunConfig
from arcformer.training.build import check_trainable
from arcformer.training.sources import open_calibration, open_labelled, open_sources, open_test, split_files

COUNT = 60
TASK = ["task.name=regress"]


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


@pytest.mark.parametrize("fixed", [(), ("data.labels=6",), ("data.count=11",)])
def test_of_some_classes_only_these_are_simulated(fixed: tuple[str, ...]) -> None:
    run = config("data.only=axion", "data.pixels=16", "data.validation=10", *fixed)
    train, validation = open_sources(run, Path("unused"))
    test = open_test(run, Path("unused"), count=9, seed=1)
    for source in (train, validation, test):
        batch = source.batch(0)
        assert source.classes == batch.classes == ("axion",)
        assert set(batch.labels.tolist()) == {0}
        assert bool(batch.targets.isfinite().all())
    assert shared(images(train, 1), images(validation)) == 0
    two, _ = open_sources(config('data.only=["axion", "no_sub"]', "data.pixels=16"), Path("unused"))
    assert two.batch(0).classes == ("no_sub", "axion")
    assert torch.bincount(two.batch(0).labels).tolist() == [4, 4]


@pytest.mark.parametrize("kind", ["store", "files"])
def test_of_a_folder_other_classes_are_left_out_and_counted(kind: str, request, tmp_path: Path) -> None:
    folder = request.getfixturevalue(kind)
    whole, some = (config(f"data.folder={folder}", *more) for more in ((), ('data.only=["axion", "no_sub"]',)))
    for run, name in ((whole, "whole.json"), (some, "some.json")):
        split_files(run, tmp_path / name)
    everything = [
        *open_sources(whole, tmp_path / "whole.json"),
        open_test(whole, tmp_path / "whole.json", count=1, seed=0),
    ]
    kept = [*open_sources(some, tmp_path / "some.json"), open_test(some, tmp_path / "some.json", count=1, seed=0)]
    cdm = sum(
        label == "cdm" for source in everything for k in range(source.batches) for _, label in split_up(source.batch(k))
    )
    for all_of_them, part in zip(everything, kept, strict=True):  # no image has moved to another part
        expected = [image for k in range(all_of_them.batches) for image in split_up(all_of_them.batch(k))]
        found = [image for k in range(part.batches) for image in split_up(part.batch(k))]
        assert part.classes == ("no_sub", "axion")
        assert sorted(found) == sorted((name, label) for name, label in expected if label != "cdm")
        assert part.others == {"cdm": cdm}
        assert all_of_them.others == {}
    few, _ = open_sources(config(*overriding(some), "data.labels=3"), tmp_path / "some.json")
    assert torch.bincount(torch.cat([few.batch(k).labels for k in range(few.batches)])).tolist() == [3, 3]
    labelled = open_labelled(some, folder)
    assert len(labelled) == COUNT - cdm
    assert labelled.classes == ("no_sub", "axion")


def split_up(batch) -> list[tuple[str, str]]:
    """The name and the class of each image."""
    return [(name, batch.classes[label]) for name, label in zip(batch.ids, batch.labels.tolist(), strict=True)]


def overriding(run: RunConfig) -> tuple[str, ...]:
    return (f"data.folder={run.data.folder}", f"data.only={json.dumps(run.data.only)}")


@pytest.mark.parametrize("folder", ["Model_I", "Model_I/axion"])
def test_masses_of_axions_in_reference_made_files(samples: Path, folder: str) -> None:
    where = samples / "deeplense" / folder
    task = [*TASK, 'task.targets=["log10_axion_mass_eV"]', "data.only=axion", "data.preset=deeplense/model-1"]
    found = open_labelled(config(*task, f"data.folder={where}"), where)
    assert found.others == ({"no_sub": 60, "cdm": 60} if folder == "Model_I" else {})
    batches = [found.batch(k) for k in range(found.batches)]
    masses = torch.cat([batch.targets[:, 0] for batch in batches])
    assert len(masses) == 60
    assert bool(((masses >= -24) & (masses <= -22)).all())
    assert masses.std() > 0.3
    whole = samples / "deeplense" / "Model_I"
    every_class = config(*task[:-2], task[-1], f"data.folder={whole}")
    with pytest.raises(InputError, match="holds no log10_axion_mass_eV"):
        open_labelled(every_class, whole)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.only=axoin"], "only: unknown class 'axoin' of preset deeplense/model-2: did you mean 'axion'"),
        (['data.only=["cdm", "vortex"]'], "only: unknown class 'vortex'"),
        (["data.only=cdm", "data.preset=deeplense/binary"], "only: unknown class 'cdm' of preset deeplense/binary"),
    ],
)
def test_classes_that_there_are_not_are_named(overrides: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        config(*overrides)


@pytest.mark.parametrize(
    ("data", "target", "words"),
    [
        ("simulated", "axion_mass_eV", "deeplense/model-2 has no 'axion_mass_eV'; did you mean 'log10_axion_mass_eV'"),
        ("simulated", "log10_axion_mass_eV", r'lenses of no_sub, cdm have no .*set data\.only to \["axion"\]'),
        ("store", "axion_mass_eV", r"store holds no axion_mass_eV to be learned; did you mean 'log10_axion_mass_eV'"),
        ("store", "log10_axion_mass_eV", r"deeplense/model-2/3/store/.* has no .*, nor have 40 more; .*data\.only"),
        ("files", "theta_E", r"\.npy holds no theta_E to be learned; Known: log10_axion_mass_eV"),
        ("files", "log10_axion_mass_eV", r"\.npy holds no log10_axion_mass_eV .*data\.only.*and 40 more bad files"),
    ],
)
def test_what_images_lack_of_what_is_to_be_learned_is_said_first(
    data: str, target: str, words: str, request, tmp_path: Path
) -> None:
    where = [] if data == "simulated" else [f"data.folder={request.getfixturevalue(data)}"]
    run = config(*TASK, f'task.targets=["{target}"]', *where)
    with pytest.raises(InputError, match=words):
        check_trainable(run) if data == "simulated" else split_files(run, tmp_path / "split.json")
    if target.startswith("log10"):
        run = config(*TASK, f'task.targets=["{target}"]', "data.only=axion", *where)
        check_trainable(run) if data == "simulated" else split_files(run, tmp_path / "split.json")


DETECTING = ("data.only=no_sub", "task=detect")


def test_others_stand_among_training_images_as_asked_and_a_test_has_them_apart() -> None:
    run = config(*DETECTING, "data.mixed=0.5", "data.pixels=8", "training.batch_size=60")
    for source in (*open_sources(run, Path("unused")), open_calibration(run, Path("unused"))):
        batch = source.batch(0)
        assert batch.classes == ("no_sub",)
        assert 0.2 < float((batch.extras["point_count"] > 0).float().mean()) < 0.8
    test = open_test(run, Path("unused"), count=60, seed=0).batch(0)
    assert test.classes == ("no_sub", "cdm", "axion")
    assert test.labels is not None
    assert test.labels.bincount().tolist() == [20, 20, 20]
    assert bool(((test.extras["point_count"] > 0) == (test.labels > 0)).all())


@pytest.mark.parametrize(
    "overrides", [["data.mixed=0.1"], ["data.mixed=1.0", *DETECTING], ['data.only=["no_sub","cdm","axion"]']]
)
def test_a_mixture_of_nothing_is_a_fault_of_the_configuration(overrides: list[str]) -> None:
    with pytest.raises(InputError, match="mixed"):
        config("data.mixed=0.1", *overrides)


@pytest.mark.parametrize("kind", ["store", "files"])
def test_what_detects_is_tested_on_what_it_was_not_trained_on(
    kind: str, store: Path, files: Path, tmp_path: Path
) -> None:
    folder = {"store": store, "files": files}[kind]
    run = config(*DETECTING, f"data.folder={folder}")
    split_files(run, tmp_path / "split.json")
    parts = json.loads((tmp_path / "split.json").read_text())
    test = open_test(run, tmp_path / "split.json", count=1, seed=0)
    assert test.classes == ("no_sub", "cdm", "axion")
    batches = [test.batch(k) for k in range(test.batches or 0)]
    names = [name for batch in batches for name in batch.ids]
    labels = torch.cat([batch.labels for batch in batches if batch.labels is not None])
    assert not set(names) & {name for part in ("train", "validation", "calibration") for name in parts[part]}
    every = open_labelled(run, folder)
    assert len(every) == COUNT
    assert every.classes == test.classes
    there = torch.cat([batch.labels for k in range(every.batches) if (batch := every.batch(k)).labels is not None])
    assert labels.bincount().tolist() == [len(parts["test"]), *there.bincount().tolist()[1:]]

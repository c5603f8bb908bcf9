"""The published folder layouts, unmodified."""

from __future__ import annotations

import numpy as np
import pytest

from arcformer.data.deeplense import has_pairs, read_pair, scan, scan_pairs
from arcformer.errors import InputError

CLASSES = ("no_sub", "cdm", "axion")
ALIASES = {"no": "no_sub", "sphere": "cdm", "sub": "cdm", "vort": "axion", "vortex": "axion"}


@pytest.fixture
def fill(tmp_path):
    """Makes empty files below a folder."""

    def fill(*names: str):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return fill


def labels_by_name(catalogue):
    return {name: catalogue.classes[label] for name, label in zip(catalogue.names, catalogue.labels, strict=True)}


def test_class_folders_and_the_callers_order(fill):
    root = fill("axion/axion_sim_2.npy", "axion/axion_sim_1.npy", "cdm/cdm_sim_1.npy", "no_sub/no_sub_sim_9.npy")
    for classes in (CLASSES, CLASSES[::-1]):
        catalogue = scan(root, classes)
        assert catalogue.classes == classes
        assert catalogue.names == (
            "axion/axion_sim_1.npy",
            "axion/axion_sim_2.npy",
            "cdm/cdm_sim_1.npy",
            "no_sub/no_sub_sim_9.npy",
        )
        assert [classes[label] for label in catalogue.labels] == ["axion", "axion", "cdm", "no_sub"]


def test_parts_aliases_and_junk(fill):
    root = fill(
        "train/no/1.npy", "train/sphere/1.npy", "train/Vort/1.npy", "val/no/1.npy", "val/vort/3.npy",
        "__MACOSX/train/no/._1.npy", ".DS_Store", "train/.DS_Store", "train/no/._1.npy", "train/readme.txt",
    )  # fmt: skip
    catalogue = scan(root, CLASSES, ALIASES)
    assert labels_by_name(catalogue) == {
        "train/Vort/1.npy": "axion",
        "train/no/1.npy": "no_sub",
        "train/sphere/1.npy": "cdm",
        "val/no/1.npy": "no_sub",
        "val/vort/3.npy": "axion",
    }
    assert catalogue.junk == 5


def test_pictures_in_two_classes(fill):
    root = fill("no_sub/1.jpg", "sub/1.png", "sub/2.jpeg")
    assert labels_by_name(scan(root, ("no_sub", "sub"))) == {
        "no_sub/1.jpg": "no_sub",
        "sub/1.png": "sub",
        "sub/2.jpeg": "sub",
    }


def test_no_classes(fill):
    catalogue = scan(fill("lens_data/2.npy", "lens_data/1.npy"))
    assert catalogue.names == ("lens_data/1.npy", "lens_data/2.npy")
    assert catalogue.labels == ()


def test_some_classes_are_taken_and_the_others_counted(fill):
    root = fill("a/axion/2.npy", "train/vort/1.npy", "train/no/4.npy", "train/no/5.npy", "train/sphere/3.npy")
    root = root / "train"
    catalogue = scan(root, CLASSES, ALIASES, only=["axion"])
    assert (catalogue.names, catalogue.labels, catalogue.classes) == (("vort/1.npy",), (0,), ("axion",))
    assert catalogue.others == {"no_sub": 2, "cdm": 1}
    assert catalogue.select([0]).others == catalogue.others
    two = scan(root, CLASSES, ALIASES, only=["axion", "no_sub"])
    assert two.classes == ("no_sub", "axion")  # the order is that of all classes
    assert labels_by_name(two) == {"no/4.npy": "no_sub", "no/5.npy": "no_sub", "vort/1.npy": "axion"}
    assert scan(root, CLASSES, ALIASES, only=CLASSES).others == {}
    with pytest.raises(InputError, match="holds no image of axion, only of cdm"):
        scan(fill("b/cdm/1.npy") / "b", CLASSES, only=["axion"])
    with pytest.raises(InputError, match=r"'axoin'.*is not a class"):
        scan(fill("c/axoin/1.npy", "c/cdm/1.npy") / "c", CLASSES, only=["cdm"])


def test_images_of_one_class_need_no_folder_of_it(fill):
    root = fill("lens_data/2.npy", "lens_data/train/1.npy", "lens_data/no_sub/3.npy")
    root = root / "lens_data"
    assert set(labels_by_name(scan(root, ("no_sub",))).items()) == {
        ("2.npy", "no_sub"),
        ("no_sub/3.npy", "no_sub"),
        ("train/1.npy", "no_sub"),
    }
    mixed = scan(root, CLASSES, only=["axion"])
    assert labels_by_name(mixed) == {"2.npy": "axion", "train/1.npy": "axion"}
    assert mixed.others == {"no_sub": 1}
    with pytest.raises(InputError, match=r"2\.npy lies in no class folder.*say of which class all are \(data\.only\)"):
        scan(root, CLASSES)


def test_unknown_folders_are_named_with_near_ones(fill):
    with pytest.raises(InputError, match=r"'axoin'.*did you mean 'axion'"):
        scan(fill("axoin/1.npy", "cdm/1.npy"), CLASSES)


def test_loose_images_and_empty_folders(fill, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        scan(tmp_path / "nowhere", CLASSES)
    (tmp_path / "cdm").mkdir()
    with pytest.raises(InputError, match="holds no image; 1 files"):
        scan(fill("README"), CLASSES)
    with pytest.raises(InputError, match=r"1\.npy lies in no class folder"):
        scan(fill("train/1.npy"), CLASSES)


def test_linked_class_folders_are_followed(fill, tmp_path):
    elsewhere = fill("elsewhere/1.npy") / "elsewhere"
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "cdm").symlink_to(elsewhere)
    assert scan(tmp_path / "root", CLASSES).names == ("cdm/1.npy",)


def test_pairs_are_joined_by_number(fill):
    root = fill(
        "HR/HR_10.npy", "HR/HR_2.npy", "HR/HR_3.npy", "LR/LR_2.npy", "LR/LR_10.npy", "LR/LR_7.npy", "LR/.DS_Store"
    )
    pairs = scan_pairs(root)
    assert [path.name for path in pairs.paths] == ["LR_2.npy", "LR_10.npy"]
    assert [path.name for path in pairs.finer] == ["HR_2.npy", "HR_10.npy"]
    assert [path.name for path in pairs.select([1]).finer] == ["HR_10.npy"]
    lacking = [
        r"LR_7.npy: there is no file of its number, 7, in HR",
        "HR_3.npy: there is no file of its number, 3, in LR",
    ]
    assert [line.endswith(words) for line, words in zip(pairs.alone, lacking, strict=True)] == [True, True]
    assert pairs.junk == 1
    assert has_pairs(root)
    assert not has_pairs(root / "LR")
    fill("LR/sample2.npy")
    with pytest.raises(InputError, match="same number"):
        scan_pairs(root)
    with pytest.raises(InputError, match="no such folder"):
        scan_pairs(root / "LR")


def test_a_pair_is_a_batch_of_two_resolutions(tmp_path):
    for name, side in (("low", 5), ("high", 10), ("odd", 11)):
        np.save(tmp_path / f"{name}.npy", np.ones((1, side, side)))
    batch = read_pair(tmp_path / "low.npy", tmp_path / "high.npy", pixel_scale=0.1)
    assert batch.images.shape == (1, 1, 5, 5)
    assert batch.high_res.shape == (1, 1, 10, 10)
    assert float(batch.high_res.sum()) == float(batch.images.sum())  # brightness in the files, flux in the batch
    with pytest.raises(InputError, match=r"high\.npy is 2 times as fine as .*low\.npy, and task\.factor is 4"):
        read_pair(tmp_path / "low.npy", tmp_path / "high.npy", factor=4)
    with pytest.raises(InputError, match="not a whole multiple"):
        read_pair(tmp_path / "low.npy", tmp_path / "odd.npy")


def test_reference_made_folders(samples):
    for model, count in (("Model_I", 60), ("Model_II", 100)):
        catalogue = scan(samples / "deeplense" / model, CLASSES, ALIASES)
        assert [catalogue.labels.count(label) for label in range(3)] == [count] * 3

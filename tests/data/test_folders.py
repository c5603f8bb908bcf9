"""Batches from files: a pure function of (seed, k); bad files found, named, and left out only when told to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from astropy.io import fits

from arcformer.data.deeplense import scan
from arcformer.data.folders import FolderBatches, check_files
from arcformer.data.image import BadFile
from arcformer.data.source import BatchSource
from arcformer.errors import InputError

CLASSES = ("no_sub", "axion")


@pytest.fixture
def root(tmp_path):
    """Seven images of two classes, each with its number as its values; those of ``axion`` with a mass."""
    for number in range(7):
        name = CLASSES[number % 2]
        (tmp_path / name).mkdir(exist_ok=True)
        image = np.full((6, 6), float(number))
        if name == "axion":
            parts = np.empty(2, dtype=object)
            parts[0], parts[1] = image, 10.0 ** (-23 - number / 10)
            np.save(tmp_path / name / f"{number}.npy", parts, allow_pickle=True)
        else:
            np.save(tmp_path / name / f"{number}.npy", image)
    return tmp_path


def numbers(batch):
    return batch.images[:, 0, 0, 0].int().tolist()


def test_batches_hold_what_the_files_hold(root):
    source = FolderBatches(scan(root, CLASSES), batch_size=3, pixel_scale=0.05, unit="counts")
    assert isinstance(source, BatchSource)
    assert source.batches == 3
    assert source.classes == CLASSES
    batches = [source.batch(k) for k in range(3)]
    assert [numbers(batch) for batch in batches] == [[1, 3, 5], [0, 2, 4], [6]]
    assert batches[0].labels.tolist() == [1, 1, 1]
    assert batches[0].ids == ("axion/1.npy", "axion/3.npy", "axion/5.npy")
    torch.testing.assert_close(batches[0].targets[:, 0], torch.tensor([-23.1, -23.3, -23.5]))
    assert batches[1].targets.isnan().all()
    assert batches[1].target_names == batches[0].target_names
    assert batches[2].unit == "counts"
    assert batches[0].pixel_scale.tolist() == pytest.approx([0.05] * 3)


def test_every_pass_takes_each_image_once_in_a_new_order(root):
    def source(seed):
        return FolderBatches(scan(root, CLASSES), batch_size=2, seed=seed, shuffle=True)

    passes = [[n for k in range(4) for n in numbers(source(1).batch(e * 4 + k))] for e in range(3)]
    assert all(sorted(order) == list(range(7)) for order in passes)
    assert passes[0] != passes[1]
    assert numbers(source(1).batch(6)) == numbers(source(1).batch(6)) == passes[1][4:6]
    assert [numbers(source(2).batch(k)) for k in range(4)] != [numbers(source(1).batch(k)) for k in range(4)]


def test_rows_of_a_split(root):
    source = FolderBatches(scan(root, CLASSES), batch_size=4, rows=[6, 0])
    assert source.batches == 1
    assert numbers(source.batch(0)) == [6, 1]
    assert source.batch(0).labels.tolist() == [0, 1]
    with pytest.raises(InputError, match="no image is left"):
        FolderBatches(scan(root, CLASSES), batch_size=4, rows=[])


def test_images_of_another_shape_are_named(root):
    np.save(root / "no_sub" / "8.npy", np.ones((6, 7)))
    source = FolderBatches(scan(root, CLASSES), batch_size=8)
    with pytest.raises(InputError, match=r"8\.npy: its shape is \(1, 6, 7\)"):
        source.batch(0)


def test_bad_files_are_an_error_or_left_out_and_listed(root):
    whole = (root / "no_sub" / "0.npy").read_bytes()
    (root / "no_sub" / "short.npy").write_bytes(whole[:-9])
    (root / "axion" / "words.npy").write_text("hello")
    np.save(root / "no_sub" / "nan.npy", np.full((6, 6), np.nan))
    np.save(root / "no_sub" / "wide.npy", np.ones((6, 7)))
    catalogue = scan(root, CLASSES)
    with pytest.raises(BadFile, match=r"words\.npy: .*and 3 more bad files of 11"):
        check_files(catalogue)
    watched = []
    kept = check_files(catalogue, skip_bad=True, progress=lambda paths: watched.extend(paths) or paths)
    assert len(watched) == 11
    assert len(kept) == 7
    assert [line.partition(":")[0].rpartition("/")[2] for line in kept.bad] == [
        "words.npy",
        "nan.npy",
        "short.npy",
        "wide.npy",
    ]
    assert sorted(numbers(FolderBatches(kept, batch_size=7).batch(0))) == list(range(7))
    assert check_files(kept) is kept


def test_files_without_what_is_to_be_learned_are_named(root):
    catalogue = scan(root, CLASSES)
    mass = ["log10_axion_mass_eV"]
    with pytest.raises(BadFile, match=r"no_sub/0\.npy holds no log10_axion_mass_eV.*data\.only.*3 more bad files of 7"):
        check_files(catalogue, targets=mass)
    assert len(check_files(catalogue, targets=mass, skip_bad=True)) == 3
    assert len(check_files(scan(root, CLASSES, only=["axion"]), targets=mass)) == 3
    with pytest.raises(BadFile, match=r"1\.npy holds no axion_mass_eV.*did you mean 'log10_axion_mass_eV'"):
        check_files(scan(root, CLASSES, only=["axion"]), targets=["axion_mass_eV"])
    fits.PrimaryHDU(np.ones((6, 6))).writeto(root / "axion" / "9.fits")
    with pytest.raises(BadFile, match=r"9\.fits holds no log10_axion_mass_eV.*None is known"):
        check_files(scan(root, CLASSES, only=["axion"]), targets=mass)


def test_nothing_good_is_an_error_even_when_skipping(tmp_path):
    (tmp_path / "a.npy").write_text("hello")
    with pytest.raises(BadFile, match=r"a\.npy"):
        check_files(scan(tmp_path), skip_bad=True)


def test_masks_and_psfs_of_different_files_come_together(tmp_path):
    rng = np.random.default_rng(0)
    for number, side in enumerate((7, 11)):
        image = rng.normal(size=(20, 20))
        image[4, 4] = np.nan if number else 1
        psf = np.zeros((side, side))
        psf[side // 2, 1:-1] = 1
        hdus = [fits.PrimaryHDU(), fits.ImageHDU(image, name="SCI"), fits.ImageHDU(psf, name="PSF")]
        fits.HDUList(hdus).writeto(tmp_path / f"{number}.fits")
    batch = FolderBatches(scan(tmp_path), batch_size=2).batch(0)
    assert batch.mask.sum(dim=(1, 2, 3)).tolist() == [0, 1]
    assert batch.psf.shape[0] == 2
    assert batch.psf.sum(dim=(1, 2)).tolist() == pytest.approx([1, 1])


def test_reference_made_files_make_batches(samples):
    catalogue = scan(samples / "deeplense" / "Model_I", ("no_sub", "cdm", "axion"))
    batch = FolderBatches(catalogue, batch_size=16, seed=3, shuffle=True, pixel_scale=0.05, unit="counts").batch(0)
    assert batch.images.shape == (16, 1, 150, 150)
    assert (batch.targets.isfinite()[:, 0] == (batch.labels == 2)).all()

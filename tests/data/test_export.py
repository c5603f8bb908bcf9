"""Files for other programs: DeepLense's layout to the byte's type, FITS that says what it holds, and back again."""

from __future__ import annotations

import re
import shutil
import warnings
from collections import namedtuple

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS

from arcformer.data.deeplense import scan
from arcformer.data.export import export_deeplense, export_fits
from arcformer.data.fits import read_fits
from arcformer.data.folders import FolderBatches
from arcformer.data.store import write_store
from arcformer.data.stored import StoredBatches
from arcformer.errors import InputError

CLASSES = ("no_sub", "cdm", "axion")
EXPORTS = {"npy": export_deeplense, "fits": export_fits}


@pytest.fixture(scope="module", params=["deeplense/model-1", "deeplense/model-2"])
def store(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCFORMER_EAGER", "1")
        write_store(request.param, folder, count=11, seed=5, pixels=12, shard=4)
    return folder


@pytest.fixture(scope="module")
def stored(store):
    """All images of the store, by the pixels in them."""
    batch = StoredBatches(store, batch_size=11).batch(0)
    return {batch.images[row].numpy().tobytes(): batch[row] for row in range(len(batch))}


@pytest.mark.parametrize("kind", EXPORTS)
def test_every_image_comes_back_in_its_class(store, stored, tmp_path, kind):
    out = EXPORTS[kind](store, tmp_path / "new" / "out")
    catalogue = scan(out, CLASSES)
    assert len(catalogue) == 11
    assert catalogue.junk == 0
    back, left = FolderBatches(catalogue, batch_size=11).batch(0), dict(stored)
    for row in range(11):
        original = left.pop(back.images[row].numpy().tobytes())
        assert back.labels[row] == original.labels[0]
        if kind == "npy":
            assert back.target_names == ("log10_axion_mass_eV",)
            mass = original.targets[0, original.target_names.index("log10_axion_mass_eV")]
            torch.testing.assert_close(back.targets[row, 0], mass, equal_nan=True)
    assert not left


def test_files_are_as_deeplense_writes_them(store, stored, tmp_path):
    export_deeplense(store, tmp_path / "out")
    kind = np.int64 if "model-1" in next(iter(stored.values())).ids[0] else np.float64
    for name in CLASSES:
        files = sorted((tmp_path / "out" / name).iterdir())
        assert files
        for path in files:
            assert int(re.fullmatch(rf"{name}_sim_(\d+)\.npy", path.name)[1]) < 2**128
            array = np.load(path, allow_pickle=name == "axion")
            if name == "axion":
                assert array.dtype == object
                assert array.shape == (2,)
                array, mass = array
                assert isinstance(mass, float)
                assert 1e-24 <= mass <= 1e-22
            assert array.dtype == kind
            assert array.shape == (12, 12)


def test_files_are_as_the_reference_made_ones(store, stored, tmp_path, samples):
    export_deeplense(store, tmp_path / "out")
    model = "Model_I" if "model-1" in next(iter(stored.values())).ids[0] else "Model_II"
    for name in CLASSES:
        ours, theirs = (
            np.load(next(iter(sorted(folder.iterdir()))), allow_pickle=True)
            for folder in (tmp_path / "out" / name, samples / "deeplense" / model / name)
        )
        assert (ours.dtype, ours.ndim) == (theirs.dtype, theirs.ndim)
        if name == "axion":
            assert [type(part) for part in ours] == [type(part) for part in theirs]
            assert (ours[0].dtype, ours[0].ndim) == (theirs[0].dtype, theirs[0].ndim)


def test_fits_headers_say_what_was_drawn(store, stored, tmp_path):
    export_fits(store, tmp_path / "out")
    files = sorted((tmp_path / "out").rglob("*.fits"))
    assert len(files) == 11
    for path in files:
        with warnings.catch_warnings(action="error"), fits.open(path) as hdus:
            hdus.verify("exception")
            primary, header = hdus[0], hdus[0].header
            image = stored[np.ascontiguousarray(primary.data, np.float32).tobytes()]
            assert header["CLASS"] == path.parent.name == image.classes[int(image.labels)]
            assert header["IMAGEID"] == image.ids[0]
            assert header["BUNIT"] == image.unit
            assert header["BITPIX"] == (32 if image.unit == "counts" else -32)
            for name, values in image.extras.items():
                if values.ndim == 1 and not values.isnan().any():
                    assert header[name] == pytest.approx(values.item(), rel=1e-12)
                    assert header.comments[name]
                elif values.ndim == 1:
                    assert name not in header
            np.testing.assert_array_equal(hdus["PSF"].data, image.psf[0])
            assert header.comments["halo_mass"] == "[solMass] drawn"
            assert ("POINT" in hdus) == (int(image.extras["point_count"]) > 0)
            if "POINT" in hdus:
                count = int(image.extras["point_count"])
                assert hdus["POINT"].columns["point_x"].unit == "arcsec"
                for name in ("point_x", "point_y", "point_mass"):
                    np.testing.assert_array_equal(hdus["POINT"].data[name], image.extras[name][0, :count])


def test_the_wcs_of_a_fits_file_is_the_grid_that_was_rendered(store, stored, tmp_path):
    export_fits(store, tmp_path / "out")
    path = next((tmp_path / "out").rglob("*.fits"))
    scale = next(iter(stored.values())).pixel_scale.item()
    wcs = WCS(fits.getheader(path))
    column, row = wcs.world_to_pixel_values(0.2 / 3600, -0.1 / 3600)
    assert column == pytest.approx(5.5 + 0.2 / scale, abs=1e-4)
    assert row == pytest.approx(5.5 - 0.1 / scale, abs=1e-4)
    batch = read_fits(path)
    image = stored[batch.images[0].numpy().tobytes()]
    assert batch.pixel_scale.item() == pytest.approx(scale, rel=1e-6)
    assert batch.unit == image.unit
    cut = (image.psf.shape[-1] - batch.psf.shape[-1]) // 2  # the reader leaves out faint wings
    torch.testing.assert_close(batch.psf, image.psf[:, cut : -cut or None, cut : -cut or None], atol=1e-3, rtol=0)
    assert batch.noise_std is None
    assert batch.mask is None


@pytest.mark.parametrize("kind", EXPORTS)
def test_the_same_store_gives_the_same_files(store, tmp_path, kind):
    def content(folder):
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob(f"*.{kind}")}

    one, other = (EXPORTS[kind](store, tmp_path / name) for name in ("one", "other"))
    assert content(one) == content(other) != {}


def test_progress_is_told_of_every_batch(store, tmp_path):
    seen = []

    def progress(batches, total):
        for batch in batches:
            seen.append((len(batch), total))
            yield batch

    export_deeplense(store, tmp_path / "out", progress=progress)
    assert seen == [(11, 1)]


@pytest.mark.parametrize("kind", EXPORTS)
def test_nothing_is_overwritten_and_no_half_is_left(store, tmp_path, kind, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("words")
    for out in (tmp_path / "full", tmp_path / "full" / "thesis.tex"):
        with pytest.raises(InputError, match="nothing is overwritten"):
            EXPORTS[kind](store, out)
    (tmp_path / "empty").mkdir()
    EXPORTS[kind](store, tmp_path / "empty")
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 0))
        with pytest.raises(InputError, match="11 files take about"):
            EXPORTS[kind](store, tmp_path / "out")

    def full(*_args, **_options):
        raise OSError("Not enough space on disk")

    for owner, name in ((np, "save"), (fits.HDUList, "writeto")):
        monkeypatch.setattr(owner, name, full)
    with pytest.raises(InputError, match=r"out cannot be written to \(Not enough space"):
        EXPORTS[kind](store, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full"]


def test_counts_with_a_background_are_not_rounded(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCFORMER_EAGER", "1")
    store, out = tmp_path / "store", tmp_path / "out"
    write_store("corrected/model-1", store, count=3, seed=0, pixels=32)
    export_fits(store, out)
    images = StoredBatches(store, batch_size=3).batch(0)
    written = {fits.getheader(path)["IMAGEID"]: read_fits(path).images for path in out.glob("*/*.fits")}
    for row, name in enumerate(images.ids):
        assert written[name].equal(images.images[row : row + 1])

"""Every format through one door: what an image is, what is wrong with it, and what is junk."""

from __future__ import annotations

import contextlib

import h5py
import numpy as np
import pytest
import torch
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from arcformer.data.arrays import mass_among
from arcformer.data.files import FORMATS, find_images, images_below, read_image
from arcformer.data.image import BadFile
from arcformer.errors import InputError
from arcformer.sim.presets import PRESETS


@pytest.mark.parametrize("shape", [(6, 8), (1, 6, 8), (3, 6, 8), (6, 8, 3), (6, 8, 1), (9, 8, 10)])
def test_array_layouts(tmp_path, shape):
    array = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    np.save(tmp_path / "a.npy", array)
    if shape == (9, 8, 10):
        with pytest.raises(BadFile, match="9 x 8 x 10; expected H x W"):
            read_image(tmp_path / "a.npy")
        return
    batch = read_image(tmp_path / "a.npy", classes=("a", "b"), pixel_scale=0.05)
    channels = 3 if 3 in shape else 1
    assert batch.images.shape == (1, channels, 6, 8)
    expected = array if shape[0] == channels else np.moveaxis(np.atleast_3d(array), 2, 0)
    np.testing.assert_array_equal(batch.images[0].numpy(), expected.reshape(batch.images.shape[1:]))
    assert batch.images.dtype == torch.float32
    assert batch.classes == ("a", "b")
    assert batch.ids == (str(tmp_path / "a.npy"),)
    assert batch.pixel_scale.item() == pytest.approx(0.05)


def test_image_and_mass(tmp_path, picture):
    parts = np.empty(2, dtype=object)
    parts[0], parts[1] = picture, 3e-23
    np.save(tmp_path / "axion.npy", parts, allow_pickle=True)
    np.save(tmp_path / "plain.npy", picture)
    batch = read_image(tmp_path / "axion.npy")
    assert batch.target_names == ("log10_axion_mass_eV",)
    assert batch.targets.item() == pytest.approx(np.log10(3e-23))
    np.testing.assert_allclose(batch.images[0, 0], picture, rtol=1e-6)
    assert read_image(tmp_path / "plain.npy").targets.isnan().all()
    parts[1] = 2.5
    np.save(tmp_path / "halo.npy", parts, allow_pickle=True)
    with pytest.raises(BadFile, match=r"2\.5 is no axion mass in eV"):
        read_image(tmp_path / "halo.npy")
    assert read_image(tmp_path / "halo.npy", mass="halo_mass").targets.item() == 2.5
    named = read_image(tmp_path / "halo.npy", mass=mass_among(PRESETS.get("deeplense/halo-mass").targets))
    assert named.target_names == ("log10_halo_mass",)
    assert named.targets.item() == pytest.approx(np.log10(2.5))
    for preset in ("deeplense/model-1", "corrected/model-1", "deeplense/model-4"):  # of a halo mass too
        assert mass_among(PRESETS.get(preset).targets) == "log10_axion_mass_eV"
    Image.fromarray(np.ones((6, 8), dtype=np.uint8)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", mass="log10_halo_mass").targets is None


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 3), ("P", 3), ("1", 1), ("I;16", 1)])
def test_raster_images(tmp_path, mode, channels):
    Image.new(mode, (8, 6)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").images.shape == (1, channels, 6, 8)


def test_grey_levels_are_kept(tmp_path):
    levels = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    Image.fromarray(levels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").images[0, 0].numpy(), levels)


def write_hdf5(path, image, **more):
    with h5py.File(path, "w") as file:
        for name, values in ({"image_data": image} | more).items():
            file[name] = values
    return path


def test_hdf5_noise_scale_and_psf_beside(tmp_path, picture):
    exposure = np.full_like(picture, 100.0)
    exposure[2, 3] = 0
    angle = 0.3
    turn = 0.04 * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    path = write_hdf5(
        tmp_path / "image_a.h5", picture, background_rms=0.02, exposure_time=exposure, transform_pix2angle=turn
    )
    kernel = np.zeros((9, 9))
    kernel[4, 3:6] = 1, 2, 1
    with h5py.File(tmp_path / "psf_a.h5", "w") as file:
        file["kernel_point_source"] = kernel
    batch = read_image(path)
    assert batch.pixel_scale.item() == pytest.approx(0.04)
    assert batch.mask[0, 0].nonzero().tolist() == [[2, 3]]
    expected = np.sqrt(0.02**2 + picture / 100)
    np.testing.assert_allclose(batch.noise_std[~batch.mask], expected[~batch.mask[0, 0].numpy()], rtol=1e-5)
    torch.testing.assert_close(batch.psf[0, 1], torch.tensor([0.25, 0.5, 0.25]))
    assert find_images([tmp_path]) == ([path], 0)


def test_faulty_files_are_named_with_a_reason(tmp_path, picture):
    np.save(tmp_path / "nan.npy", np.full((9, 9), np.nan))
    np.save(tmp_path / "none.npy", np.zeros((0, 9)))
    np.save(tmp_path / "number.npy", np.float64(3))
    np.save(tmp_path / "line.npy", np.zeros(9))
    np.save(tmp_path / "complex.npy", np.zeros((9, 9), dtype=complex))
    Image.fromarray(np.zeros((90, 90), dtype=np.uint8)).save(tmp_path / "whole.png")
    (tmp_path / "short.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    (tmp_path / "words.jpg").write_text("not an image")
    whole = write_hdf5(tmp_path / "whole.h5", picture).read_bytes()
    (tmp_path / "short.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "words.h5").write_text("not an image")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["something"] = 1
    names = "nan.npy none.npy number.npy line.npy complex.npy short.png words.jpg short.h5 words.h5 other.h5"
    for name in names.split():
        with pytest.raises(BadFile, match=rf"{name}: "):
            read_image(tmp_path / name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """A good file of every format."""
    folder, image = tmp_path_factory.mktemp("whole"), np.random.default_rng(0).normal(size=(16, 16))
    parts = np.empty(2, dtype=object)
    parts[0], parts[1] = image, 1e-23
    np.save(folder / "object.npy", parts, allow_pickle=True)
    np.save(folder / "plain.npy", image)
    write_hdf5(folder / "a.h5", image, background_rms=0.1, exposure_time=image**2, transform_pix2angle=np.eye(2))
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(image, name="SCI"), fits.ImageHDU(image**2, name="RMS")]
    fits.HDUList(hdus).writeto(folder / "a.fits")
    for name in ("a.png", "a.jpg"):
        Image.fromarray((image * 20 + 99).astype(np.uint8)).save(folder / name)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@settings(max_examples=100, deadline=None)
@given(
    which=st.integers(0, 5),
    changes=st.dictionaries(st.integers(0, 500), st.integers(0, 255), max_size=4),
    length=st.none() | st.integers(0, 3000),
)
def test_a_damaged_file_is_an_image_or_an_input_error(whole, tmp_path_factory, which, changes, length):
    name = list(whole)[which]
    damaged = bytearray(whole[name])
    for at, value in changes.items():
        damaged[at % len(damaged)] = value
    path = tmp_path_factory.getbasetemp() / f"damaged_{name}"
    path.write_bytes(damaged[:length])
    with contextlib.suppress(InputError):
        assert read_image(path).images.isfinite().all()


def test_options_are_those_of_the_format(tmp_path, picture):
    np.save(tmp_path / "a.npy", picture)
    with pytest.raises(InputError, match=r"a \.npy file has no band; its options are pixel_scale, mass"):
        read_image(tmp_path / "a.npy", band="VIS")
    assert len(read_image(tmp_path / "a.npy", band=None, pixel_scale=None)) == 1
    (tmp_path / "a.txt").write_text("1")
    with pytest.raises(InputError, match=r"known are \.npy, \.fits"):
        read_image(tmp_path / "a.txt")
    with pytest.raises(InputError, match="no such file"):
        read_image(tmp_path / "b.npy")


def test_a_format_is_added_in_one_line(tmp_path, monkeypatch, picture):
    def read_text(path, *, pixel_scale=None):
        np.save(path.with_suffix(".npy"), np.loadtxt(path))
        return FORMATS[".npy"](path.with_suffix(".npy"), pixel_scale=pixel_scale)

    monkeypatch.setitem(FORMATS, ".txt", read_text)
    np.savetxt(tmp_path / "a.txt", picture)
    assert read_image(tmp_path / "a.txt", pixel_scale=0.1).images.shape == (1, 1, 12, 12)


def test_images_are_found_sorted_once_and_junk_is_counted(tmp_path, picture):
    for name in ("b/2.npy", "b/1.NPY", "a/x.fits.gz", "__MACOSX/b/._1.npy", "b/.DS_Store", "b/._2.npy", "README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    images, junk = find_images([tmp_path / "b" / "2.npy", tmp_path, tmp_path / "b" / ".." / "b" / "2.npy"])
    assert [path.relative_to(tmp_path).as_posix() for path in images] == ["b/2.npy", "a/x.fits.gz", "b/1.NPY"]
    assert junk == 4
    with pytest.raises(InputError, match="no such file or folder"):
        find_images([tmp_path / "c"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image in"):
        find_images([tmp_path / "empty"])


def test_every_sample_lens_is_read(samples):
    paths, _ = find_images([samples / "lenses"])
    assert len(paths) == 10
    for path in paths:
        batch = read_image(path)
        assert batch.psf is not None
        assert batch.noise_std is not None
        if path.suffix == ".h5":
            assert batch.pixel_scale.item() == pytest.approx(0.04, rel=1e-3)


def test_a_link_that_leads_back_gives_no_image_twice(tmp_path, picture):
    np.save(tmp_path / "a.npy", picture)
    (tmp_path / "again").symlink_to(tmp_path)
    assert images_below(tmp_path) == ([tmp_path / "a.npy"], 0)


def test_a_broken_link_is_a_bad_file(tmp_path):
    (tmp_path / "a.npy").symlink_to(tmp_path / "gone.npy")
    with pytest.raises(BadFile, match="no such file"):
        read_image(tmp_path / "a.npy")


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_a_pixel_scale_that_cannot_be_is_refused(tmp_path, picture, scale):
    np.save(tmp_path / "a.npy", picture)
    with pytest.raises(InputError, match="expected a positive number"):
        read_image(tmp_path / "a.npy", pixel_scale=scale)

"""Every oddity: what it promises to touch and to leave, and that it is there to be seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.io import fits

from arcformer.batch import LensBatch
from arcformer.data.sky import sky_rms
from arcformer.errors import InputError
from arcformer.randomness import stream
from arcformer.sim.presets import PRESETS
from arcformer.sim.priors import NOTHING
from arcformer.sim.render import simulate
from arcformer.studies import oddities
from arcformer.studies.oddities import ODDITIES, NonLenses, Normals, NotSimulated, panel

PAINTED = ("cosmic_rays", "dead_columns", "satellite_trail")
PLACES = {"deeplense/model-2": 32, "deeplense/model-4": 32, "corrected/model-1": 48, "survey/hst": 48}


@pytest.fixture(autouse=True)
def _eager(monkeypatch):
    monkeypatch.setenv("ARCFORMER_EAGER", "1")


def normals(name: str = "deeplense/model-2", count: int = 4, *, truth: bool = False, label: int = 0) -> Normals:
    preset = PRESETS.get(name)
    label = preset.classes[label : label + 1]
    batch = simulate(preset, labels=label * count, seed=3, pixels=PLACES[name], truth=truth)
    return Normals(batch, preset)


def odd(name: str, lenses: Normals, seed: int = 0) -> LensBatch:
    return ODDITIES.get(name)(lenses, stream(seed, name))


@pytest.fixture
def noiseless(monkeypatch):
    monkeypatch.setattr(Normals, "observed", lambda lenses, clean, generator: lenses.showing(clean))


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("preset", list(PLACES))
@pytest.mark.parametrize("name", list(ODDITIES))
def test_an_oddity_keeps_shape_unit_and_the_images_it_was_given(name, preset, label):
    lenses = normals(preset, 2, label=label)
    before = lenses.batch.images.clone()
    made = odd(name, lenses)
    assert made.images.shape == before.shape
    assert made.images.dtype == before.dtype
    assert bool(made.images.isfinite().all())
    assert (made.unit, made.classes, made.ids) == (lenses.batch.unit, lenses.batch.classes, lenses.batch.ids)
    assert torch.equal(made.pixel_scale, lenses.batch.pixel_scale)
    assert torch.equal(lenses.batch.images, before)
    assert not torch.equal(made.images, before)
    assert made.extras == {}  # which say nothing of what is seen now


@pytest.mark.parametrize("name", list(ODDITIES))
def test_the_same_stream_gives_the_same_oddity_and_another_one_another(name):
    lenses = normals()
    assert torch.equal(odd(name, lenses).images, odd(name, lenses).images)
    deterministic = {"wrong_psf", "non_lenses"}  # and model-2 has no noise
    assert torch.equal(odd(name, lenses).images, odd(name, lenses, 1).images) == (name in deterministic)


@pytest.mark.parametrize("name", PAINTED)
def test_what_is_painted_touches_little_else(name):
    lenses = normals()
    changed = odd(name, lenses).images != lenses.batch.images
    share = changed.flatten(1).float().mean(1)
    if name == "cosmic_rays":
        assert bool(((share > 0) & (share < 0.05)).all())
    elif name == "dead_columns":
        assert bool((changed.any(2).sum(2) == 1).all())  # one column each
        columns = changed[:, 0].any(1)
        assert bool((odd(name, lenses).images[:, 0].mT[columns] == 0).all())
    else:
        gain = (odd(name, lenses).images - lenses.batch.images) / lenses.peak
        assert float(gain.min()) >= -1e-6
        assert bool((gain > 0.05).any(2).flatten(1).any(1).all())
        assert bool(((gain > 0.05).flatten(1).float().mean(1) < 0.25).all())


@pytest.mark.parametrize("name", [name for name in ODDITIES if name not in PAINTED])
def test_what_is_rendered_needs_to_know_how(name):
    lenses = normals()
    for blind in (Normals(lenses.batch), Normals(replace(lenses.batch, extras={}), lenses.preset)):
        with pytest.raises(NotSimulated, match="how these images were simulated is not known"):
            odd(name, blind)


@pytest.mark.parametrize("name", ["double_source", "second_deflector", "wrong_psf"])
def test_what_is_rendered_has_the_noise_of_its_preset(name):
    lenses = normals("corrected/model-1", 3, truth=True)
    made = odd(name, lenses)
    assert torch.allclose(sky_rms(made.images), sky_rms(lenses.batch.images), rtol=0.15)
    assert made.noise_std is not None
    assert made.noise_std.shape == made.images.shape


def test_without_its_oddity_a_lens_is_rendered_as_it_was():
    lenses = normals()
    clean = lenses.clean(lenses.parameters)
    assert torch.allclose(lenses.observed(clean, torch.Generator()).images, lenses.batch.images, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("preset", list(PLACES))
def test_a_companion_without_mass_leaves_the_lens_and_its_substructure_as_they_are(
    preset, label, monkeypatch, noiseless
):
    lenses = normals(preset, 2, label=label)
    there = odd("second_deflector", lenses).images
    monkeypatch.setattr(oddities, "COMPANION", NOTHING)
    clean = lenses.clean(lenses.parameters)
    size = float(clean.max())
    assert torch.allclose(odd("second_deflector", lenses).images, clean, atol=1e-4 * size)
    assert float((there - clean).abs().max()) > 2e-3 * size


@pytest.mark.parametrize("preset", list(PLACES))
def test_nothing_bends_the_light_of_a_non_lens(preset, noiseless):
    lenses = normals(preset, 2, label=1)
    dark = replace(lenses.preset, lens_light=())
    bare, full = (
        Normals(
            replace(lenses.batch, extras={n: p for n, p in lenses.batch.extras.items() if not n.startswith(out)}), dark
        )
        for out in (("light_", "point_", "subhalo_", "line_"), "light_")
    )
    images = [odd("non_lenses", some).images for some in (full, bare)]
    shapes = [made / made.sum((1, 2, 3), keepdim=True) for made in images]
    assert torch.allclose(*shapes, atol=1e-5)


def test_a_second_source_adds_light_and_a_wider_psf_takes_the_edge():
    lenses = normals()
    total = lenses.batch.images.sum((1, 2, 3))
    assert bool((odd("double_source", lenses).images.sum((1, 2, 3)) > 1.2 * total).all())
    wide = odd("wrong_psf", lenses).images
    assert bool((wide.amax((1, 2, 3)) < lenses.batch.images.amax((1, 2, 3))).all())
    assert torch.allclose(wide.sum((1, 2, 3)), total, rtol=0.02)


def test_a_non_lens_is_as_bright_and_has_no_ring():
    lenses = normals()
    made = odd("non_lenses", lenses).images
    assert torch.allclose(made.sum((1, 2, 3)), lenses.batch.images.sum((1, 2, 3)), rtol=0.05)
    assert bool((made.amax((1, 2, 3)) > 2 * lenses.batch.images.amax((1, 2, 3))).all())


def test_real_galaxies_stand_in_where_a_folder_is_given(tmp_path):
    y, x = np.mgrid[-20:21, -20:21]
    header = fits.Header({"CDELT1": 0.05 / 3600, "CDELT2": 0.05 / 3600, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    fits.PrimaryHDU(np.exp(-np.hypot(x / 4, y / 2)).astype(np.float32), header).writeto(tmp_path / "galaxy.fits")
    lenses = normals()
    real = NonLenses(tmp_path)(lenses, stream(0))
    assert torch.allclose(real.images.sum((1, 2, 3)), lenses.batch.images.sum((1, 2, 3)), rtol=0.05)
    assert not torch.equal(real.images, odd("non_lenses", lenses).images)
    made, lacking = panel(lenses, names=["non_lenses"], galaxies=tmp_path)
    assert list(made) == ["non_lenses"]
    assert not lacking
    with pytest.raises(InputError, match="no such folder"):
        panel(lenses, galaxies=tmp_path / "nowhere")


def test_the_panel_says_what_it_lacks():
    lenses = normals()
    made, lacking = panel(Normals(lenses.batch), seed=2)
    assert tuple(made) == PAINTED
    assert lacking.keys() == set(ODDITIES) - set(PAINTED)
    with pytest.raises(InputError, match="did you mean 'wrong_psf'"):
        panel(lenses, names=["wrong_psff"])


def test_a_user_may_add_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "holes.py").write_text(
        "def hole(lenses, generator):\n"
        "    images = lenses.batch.images.clone()\n"
        "    images[..., 10:14, 10:14] = 0\n"
        "    return lenses.showing(images)\n"
    )
    made, _ = panel(normals(), names=["holes:hole", "dead_columns"])
    assert bool((made["holes:hole"].images[..., 10:14, 10:14] == 0).all())

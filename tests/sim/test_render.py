"""From a preset and a seed to a batch: what is in it, and that nothing else decides it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.randomness import stream
from arcformer.sim.presets import PRESETS
from arcformer.sim.render import balanced_labels, clean_images, draw, simulate

MODELS = ("deeplense/model-1", "deeplense/model-2", "deeplense/model-3")


def everything(batch: LensBatch) -> dict[str, bytes]:
    """Every tensor of a batch by name, to the last bit."""
    named = {name: getattr(batch, name) for name in ("images", "labels", "targets", "psf", "pixel_scale")}
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in (named | batch.extras).items()}


@pytest.mark.parametrize("name", MODELS)
def test_what_a_batch_holds(name):
    preset = PRESETS.get(name)
    batch = simulate(name, 7, seed=3, names=("train", 0), truth=True)
    assert batch.images.shape == (7, 1, preset.pixels, preset.pixels)
    assert batch.images.dtype == torch.float32
    assert batch.images.isfinite().all()
    assert (batch.classes, batch.unit) == (preset.classes, preset.unit)
    assert batch.pixel_scale.tolist() == pytest.approx([preset.pixel_scale] * 7)
    assert batch.ids[6] == f"{name}/3/train/0/6"
    assert len(set(batch.ids)) == 7
    assert batch.psf.sum((1, 2)).tolist() == pytest.approx([1.0] * 7)
    assert batch.psf.shape[1] == batch.psf.shape[2]
    assert batch.psf.shape[1] % 2 == 1
    assert batch.noise_std.shape == batch.extras["clean"].shape == batch.images.shape
    assert {"halo_mass", "theta_E", "source_x", "point_x", "point_count", "vortex_angle"} <= batch.extras.keys()


def test_the_axion_mass_is_a_target_of_vortices_alone():
    batch = simulate("deeplense/model-2", 9, seed=0)
    mass = batch.targets[:, batch.target_names.index("log10_axion_mass_eV")]
    vortices = batch.labels == batch.classes.index("axion")
    assert mass[vortices].ge(-24).logical_and(mass[vortices].le(-22)).all()
    assert mass[~vortices].isnan().all()
    expected = batch.extras["axion_mass_eV"].log10().float()
    assert mass[vortices].equal(expected[vortices])


def test_without_truth_a_batch_holds_no_truth_about_its_pixels():
    batch = simulate("deeplense/model-2", 3, seed=0)
    assert batch.noise_std is None
    assert "clean" not in batch.extras
    assert batch.images.equal(simulate("deeplense/model-2", 3, seed=0, truth=True).images)


@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_gives_the_same_bytes(name):
    torch.manual_seed(0)
    first = simulate(name, 5, seed=1, names=("train", 4))
    torch.manual_seed(1)
    simulate(name, 5, seed=1, names=("train", 5))  # what came before decides nothing
    assert everything(simulate(name, 5, seed=1, names=("train", 4))) == everything(first)


def test_simulating_leaves_the_global_stream_alone():
    before = torch.get_rng_state()
    simulate("deeplense/model-1", 2, seed=0, pixels=8)
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("change", [{"seed": 2}, {"names": ("train", 1)}, {"names": ("test", 0)}, {"names": ()}])
def test_another_seed_or_name_gives_other_lenses(change):
    same = {"seed": 1, "names": ("train", 0), "labels": ["no_sub", "cdm", "axion"]}
    one, other = (simulate("deeplense/model-1", pixels=20, **options) for options in (same, same | change))
    for key in ("source_x", "source_y", "exposure", "point_x"):
        a, b = one.extras[key], other.extras[key]
        assert a[a != 0].ne(b[a != 0]).all(), key
    assert not one.images.eq(other.images).all((1, 2, 3)).any()


def test_an_image_does_not_depend_on_the_others_that_are_rendered():
    preset = PRESETS.get("deeplense/model-2")
    parameters = draw(preset, torch.arange(40) % 3, 6)
    together = clean_images(preset, parameters)
    for i in (0, 1, 2, 39):
        alone = clean_images(preset, {name: values[i : i + 1] for name, values in parameters.items()})
        torch.testing.assert_close(alone[0], together[i], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", MODELS)
def test_the_central_part_is_that_of_the_whole(name):
    preset = PRESETS.get(name)
    parameters = draw(preset, torch.arange(3), 7)
    whole = clean_images(preset, parameters, dtype=torch.float64)
    reach = preset.instrument.psf.kernel(preset.pixel_scale).shape[-1] // 2
    for pixels in (32, preset.pixels - 2, preset.pixels):
        part = clean_images(preset, parameters, pixels=pixels, dtype=torch.float64)
        edge = (preset.pixels - pixels) // 2
        same = whole[..., edge : preset.pixels - edge, edge : preset.pixels - edge]
        inside = slice(reach, pixels - reach)
        torch.testing.assert_close(part[..., inside, inside], same[..., inside, inside], rtol=1e-12, atol=0)
        # what the PSF brings in from beyond the edge is taken from the pixels at the edge
        assert (part - same).abs().max() < 0.1 * whole.max()


@given(count=st.integers(1, 60), classes=st.integers(1, 5), seed=st.integers(0, 2**40))
def test_labels_are_balanced_whatever_their_number(count, classes, seed):
    labels = balanced_labels(count, classes, stream(seed, "labels"))
    often = labels.bincount(minlength=classes)
    assert len(labels) == count
    assert often.max() - often.min() <= 1


def test_labels_come_in_random_order():
    labels = simulate("deeplense/model-2", 60, seed=0, pixels=2).labels
    assert labels.bincount().tolist() == [20, 20, 20]
    assert not labels.equal(torch.arange(60) % 3)
    assert not labels.equal(simulate("deeplense/model-2", 60, seed=1, pixels=2).labels)


def test_classes_may_be_given_by_name_or_by_index():
    names = simulate("deeplense/model-2", seed=0, labels=["axion", "no_sub"], pixels=4)
    indices = simulate("deeplense/model-2", seed=0, labels=torch.tensor([2, 0]), pixels=4)
    assert names.labels.tolist() == [2, 0]
    assert everything(names) == everything(indices)
    assert names.extras["point_count"].tolist() == [100, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "deeplens/model-1"}, "unknown preset 'deeplens/model-1': did you mean 'deeplense/model-1'"),
        ({"labels": ["axoin"]}, "unknown class 'axoin' of preset deeplense/model-2: did you mean 'axion'"),
        ({"labels": torch.tensor([0, 3])}, r"labels of preset deeplense/model-2 are 0 to 2, got \[0, 3\]"),
        ({"labels": torch.tensor([-1])}, "are 0 to 2"),
        ({"count": None}, "count is None: expected a whole number of at least 1"),
        ({"count": 0}, "count is 0"),
        ({"pixels": 65}, "65 central pixels of preset deeplense/model-2: expected at most 64, and as even as that"),
        ({"pixels": 33}, "as even as that"),
        ({"pixels": 0}, "expected at most 64"),
        ({"pixels": -2}, "expected at most 64"),
    ],
)
def test_what_cannot_be_simulated_is_refused_in_words(options, message):
    asked = {"preset": "deeplense/model-2", "count": 3, "seed": 0} | options
    with pytest.raises(InputError, match=message):
        simulate(asked.pop("preset"), asked.pop("count"), **asked)

"""What the published presets draw: subhalos, vortices, macromodel and source; none of the last knows the class."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from arcformer.errors import InputError
from arcformer.sim.cosmology import Geometry
from arcformer.sim.galaxies import Galaxy
from arcformer.sim.presets import PRESETS
from arcformer.sim.priors import Fixed
from arcformer.sim.render import draw, simulate

MODELS = ("deeplense/model-1", "deeplense/model-2", "deeplense/model-3")
NO_SUB, CDM, AXION = range(3)


@pytest.fixture(scope="module")
def model_1():
    """400 lenses of each class of Model I."""
    return draw(PRESETS.get("deeplense/model-1"), torch.arange(1200) % 3, 5)


def of(parameters, label):
    return {name: values[torch.arange(1200) % 3 == label].numpy() for name, values in parameters.items()}


def test_classes_and_their_order():
    for name in MODELS:
        preset = PRESETS.get(name)
        assert preset.classes == ("no_sub", "cdm", "axion")
        assert set(preset.aliases.values()) <= set(preset.classes)


def test_there_are_always_25_subhalos_and_100_pieces_of_a_vortex(model_1):
    for label, count in ((NO_SUB, 0), (CDM, 25), (AXION, 100)):
        drawn = of(model_1, label)
        assert (drawn["point_count"] == count).all()
        assert (drawn["point_mass"] > 0).sum(1).tolist() == [count] * 400


def test_subhalo_masses_follow_the_published_power_law(model_1):
    masses = of(model_1, CDM)["point_mass"][:, :25].flatten()

    def p_value(slope: float) -> float:
        power = slope + 1
        return stats.kstest(masses, lambda m: (m**power - 1e6**power) / (1e10**power - 1e6**power)).pvalue

    assert p_value(-0.9) > 0.01
    assert p_value(-1.9) < 1e-9  # the documented one
    assert p_value(-0.95) < 0.01
    assert (masses.min(), masses.max()) == (pytest.approx(1e6, rel=0.02), pytest.approx(1e10, rel=0.02))
    assert masses.reshape(400, 25).sum(1).mean() == pytest.approx(3.8e10, rel=0.05)


def test_subhalos_lie_in_a_ring_uniform_in_radius_and_angle(model_1):
    cdm = of(model_1, CDM)
    x, y = cdm["point_x"][:, :25].flatten(), cdm["point_y"][:, :25].flatten()
    assert stats.kstest(np.hypot(x, y), stats.uniform(0.25, 1.75).cdf).pvalue > 0.01
    assert stats.kstest(np.arctan2(y, x), stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 0.01


def test_a_vortex_is_a_line_of_equal_masses_through_the_centre(model_1):
    axion = of(model_1, AXION)
    x, y, half = axion["point_x"], axion["point_y"], axion["vortex_half_length"]
    np.testing.assert_allclose(x[:, :1] * y, y[:, :1] * x, atol=1e-12)  # on one line with the centre
    np.testing.assert_allclose(x, -x[:, ::-1], atol=1e-12)
    steps = np.hypot(np.diff(x), np.diff(y))
    np.testing.assert_allclose(steps, np.repeat(2 * half[:, None] / 99, 99, axis=1), rtol=1e-9)
    np.testing.assert_allclose(axion["point_mass"], 3e8)
    np.testing.assert_allclose(half, 0.06e-22 / (2 * axion["axion_mass_eV"]))
    assert 0.03 * (1 - 1e-9) <= half.min() < 0.0315
    assert 2.85 < half.max() <= 3 * (1 + 1e-9)
    angle = np.arctan2(y[:, -1], x[:, -1])
    assert stats.kstest(angle, stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 0.01
    np.testing.assert_allclose(np.cos(angle - axion["vortex_angle"]), 1)


def test_the_axion_mass_is_drawn_in_its_logarithm_and_only_for_vortices(model_1):
    mass = of(model_1, AXION)["axion_mass_eV"]
    assert stats.kstest(np.log10(mass), stats.uniform(-24, 2).cdf).pvalue > 0.01
    for label in (NO_SUB, CDM):
        assert np.isnan(of(model_1, label)["axion_mass_eV"]).all()


def test_of_the_source_only_the_centre_varies_and_of_the_lens_nothing(model_1):
    varying = {
        name for name, values in model_1.items() if values.ndim == 1 and values.nan_to_num().unique().numel() > 1
    }
    assert varying == {
        "source_x", "source_y", "exposure", "point_count", "axion_mass_eV", "vortex_half_length", "vortex_angle"
    }  # fmt: skip
    for name in ("source_x", "source_y"):
        assert stats.kstest(model_1[name].numpy(), stats.uniform(-0.35, 0.7).cdf).pvalue > 0.01
    assert stats.kstest(model_1["exposure"].log10().numpy(), stats.uniform(3, 0.5).cdf).pvalue > 0.01
    fixed = {name: model_1[name][0].item() for name in ("e1", "e2", "gamma1", "gamma2", "lens_x", "lens_y")}
    assert fixed == {"e1": 0.1, "e2": 0, "gamma1": 0.05, "gamma2": 0, "lens_x": 0, "lens_y": 0}


@settings(deadline=None)
@given(
    preset=st.sampled_from(MODELS),
    labels=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=8),
    seed=st.integers(0, 2**40),
)
def test_nothing_but_substructure_depends_on_the_class(preset, labels, seed):
    one, other = (draw(PRESETS.get(preset), torch.tensor(classes), seed) for classes in zip(*labels, strict=True))
    shared = {name for name in one if not name.startswith(("point_", "vortex_", "axion_"))}
    assert {"theta_E", "gamma1", "source_x", "source_y", "source_amplitude"} <= shared
    for name in shared:
        assert one[name].equal(other[name]), name


@pytest.mark.parametrize("preset", MODELS)
def test_the_einstein_radius_is_the_published_one(preset):
    theta_E = draw(PRESETS.get(preset), torch.zeros(2, dtype=torch.int64), 0)["theta_E"]
    torch.testing.assert_close(theta_E, torch.full((2,), 1.2815, dtype=torch.float64), atol=5e-5, rtol=0)


def test_deflections_shrink_where_the_published_code_mistakes_the_source():
    assert PRESETS.get("deeplense/model-1").geometry.deflection_scaling == 1
    for name in MODELS[1:]:
        assert PRESETS.get(name).geometry.deflection_scaling == pytest.approx(0.634, abs=5e-4)


def test_the_einstein_radius_of_a_subhalo_grows_with_the_root_of_its_mass(model_1):
    cdm = of(model_1, CDM)
    expected = cdm["theta_E"][:, None] * np.sqrt(cdm["point_mass"] / 1e12)
    np.testing.assert_allclose(cdm["point_theta_E"], expected)


def test_what_cannot_be_a_preset_is_refused():
    with pytest.raises(InputError, match=r"z_lens 1\.0 and z_source 0\.5: expected 0 < z_lens < z_source"):
        Geometry(z_lens=1.0, z_source=0.5)
    with pytest.raises(InputError, match="either amplitude or magnitude"):
        Galaxy(*[Fixed(0.0)] * 6)


def test_a_mixture_holds_its_share_and_leaves_the_rest_as_it_is():
    plain, mixed = PRESETS.get("deeplense/model-2"), PRESETS.get("deeplense/model-2").mixed(["no_sub"], 0.25)
    assert mixed.classes == ("no_sub",)
    assert mixed.targets == plain.of_classes(["no_sub"]).targets
    batch = simulate(mixed, 2000, seed=4, pixels=8, compiled=False)
    others = batch.extras["point_count"] > 0
    assert float(others.float().mean()) == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 2000) ** 0.5)
    sizes = set(batch.extras["point_count"].tolist())
    assert sizes == {0, 25, 100}  # and of either about as many
    assert int((batch.extras["point_count"] == 25).sum()) == pytest.approx(250, abs=60)
    alone = simulate(plain.of_classes(["no_sub"]), 2000, seed=4, pixels=8, compiled=False)
    assert torch.equal(batch.images[~others], alone.images[~others])
    assert not torch.equal(batch.images[others], alone.images[others])


def test_a_mixture_of_nothing_is_refused():
    preset = PRESETS.get("deeplense/model-2")
    for names, share in ((["no_sub"], 0.0), (["no_sub"], 1.0), (list(preset.classes), 0.1)):
        with pytest.raises(InputError, match="a mixture of"):
            preset.mixed(names, share)


def test_populations_of_other_kinds_can_be_mixed():
    batch = simulate(PRESETS.get("corrected/model-2").mixed(["no_sub"], 0.6), 60, seed=1, pixels=16, compiled=False)
    lines, halos = (batch.extras[f"{kind}_count"] > 0 for kind in ("line", "subhalo"))
    assert bool(lines.any())
    assert bool(halos.any())
    assert not bool((lines & halos).any())
    assert bool(batch.images.isfinite().all())

"""Truncated NFW subhalos against caustics, and their numbers and sizes against what they are drawn from."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from caustics.lenses.func import M0_totmass_tnfw, physical_deflection_angle_tnfw
from hypothesis import given, settings
from hypothesis import strategies as st
from lenstronomy.LensModel.lens_model import LensModel
from oracle import truncated_nfw
from scipy import stats

from arcformer.sim.cosmology import Geometry
from arcformer.sim.halos import TRUNCATION, concentration, truncated_nfw_deflection
from arcformer.sim.presets import PRESETS
from arcformer.sim.priors import Fixed, LogUniform
from arcformer.sim.render import clean_images, draw
from arcformer.sim.substructure import NoSubstructure, Subhalos, WarmSubhalos

GEOMETRY = Geometry()


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@settings(max_examples=30, deadline=None)
@given(st.floats(8, 10), st.floats(-1, 1), st.floats(-1, 1))
def test_one_halo_deflects_as_in_caustics(log_mass: float, px: float, py: float) -> None:
    mass = numbers(10**log_mass)
    drawn = Subhalos(f_sub=Fixed(0.01))
    scale = drawn._scale(mass, GEOMETRY)
    theta_E = GEOMETRY.unit_einstein_radius * mass.sqrt()
    x = numbers(*np.geomspace(1e-3, 6, 200)) + px
    y = torch.full_like(x, py + 0.01)
    ours = truncated_nfw_deflection(numbers(px)[None], numbers(py)[None], theta_E[None], scale[None], x, y)

    d_l = GEOMETRY.universe.angular_diameter_distance(GEOMETRY.z_lens).to_value("Mpc")
    d_s = GEOMETRY.universe.angular_diameter_distance(GEOMETRY.z_source).to_value("Mpc")
    d_ls = d_s - d_l * (1 + GEOMETRY.z_lens) / (1 + GEOMETRY.z_source)
    tau = numbers(TRUNCATION)
    theirs = physical_deflection_angle_tnfw(numbers(px), numbers(py), scale, tau, x, y, M0_totmass_tnfw(mass, tau), d_l)
    for own, other in zip(ours, theirs, strict=True):
        reduced = other * d_ls / d_s
        largest = max(float(part.abs().max()) for part in theirs) * d_ls / d_s
        assert float((own[0] - reduced).abs().max()) < 1.5e-3 * largest  # caustics joins its branches at x = 1 to 1e-3


def test_the_formula_is_lenstronomys_and_the_ratio_is_the_formulas() -> None:
    x, y = numbers(*np.geomspace(1e-3, 6, 400)), numbers(*np.zeros(400))
    one = [numbers(value)[None] for value in (0.0, 0.0, 0.03, 0.2)]
    exact, _ = truncated_nfw_deflection(*one, x, y)
    theirs, _ = LensModel(["TNFW"]).alpha(x.numpy(), y.numpy(), [truncated_nfw(0.0, 0.0, 0.03, 0.2)])
    largest = exact.abs().max()
    assert float((exact[0] - torch.from_numpy(theirs)).abs().max() / largest) < 1e-6
    ratio, _ = truncated_nfw_deflection(*(value.float() for value in one), x.float(), y.float())
    assert 1e-6 < float((ratio - exact).abs().max() / largest) < 1e-4


def test_many_halos_are_the_sum_of_each() -> None:
    generator = torch.Generator().manual_seed(0)
    px, py, theta_E, scale = (torch.rand(2, 7, generator=generator, dtype=torch.float64) + 0.1 for _ in range(4))
    x, y = (torch.rand(50, generator=generator, dtype=torch.float64) for _ in "xy")
    together = truncated_nfw_deflection(px, py, theta_E, scale, x, y)
    singles = [truncated_nfw_deflection(*(v[:, k : k + 1] for v in (px, py, theta_E, scale)), x, y) for k in range(7)]
    for axis in (0, 1):
        assert torch.allclose(together[axis], sum(single[axis] for single in singles), rtol=1e-12)


def test_concentrations_are_those_of_the_paper() -> None:
    """Dutton & Maccio (2014), figure 10 and their fits: c200 = 8.1 at 1e12 Msun / h today, and less at z = 1."""
    assert float(concentration(numbers(1e12 / 0.7), 0.0, 70.0)) == pytest.approx(10**0.905, rel=1e-6)
    assert float(concentration(numbers(1e12 / 0.7), 1.0, 70.0)) == pytest.approx(
        10 ** (0.520 + 0.385 * math.exp(-0.617)), rel=1e-6
    )


def test_numbers_of_subhalos_are_those_of_the_mass_in_them() -> None:
    """FIELD's figures: above 1e8 Msun there are 19 at one percent, 186 at ten."""
    for f_sub, expected in ((0.01, 19), (0.1, 186)):
        mean = Subhalos(f_sub=Fixed(f_sub)).mean_number(numbers(f_sub), GEOMETRY)
        assert float(mean) == pytest.approx(expected, rel=0.03)


def test_subhalos_follow_their_mass_function_and_fill_their_disc() -> None:
    population = Subhalos(f_sub=LogUniform(0.01, 0.2))
    lens = {"theta_E": torch.ones(400, dtype=torch.float64)}
    drawn = population.draw(lens, torch.Generator().manual_seed(1), GEOMETRY)
    there = torch.arange(population.most) < drawn["subhalo_count"][:, None]
    mass = drawn["subhalo_mass"][there].numpy()

    def cdf(m: np.ndarray) -> np.ndarray:
        k = population.slope + 1
        return (m**k - population.faintest**k) / (population.heaviest**k - population.faintest**k)

    assert stats.kstest(mass, cdf).pvalue > 1e-3
    radius = torch.hypot(drawn["subhalo_x"], drawn["subhalo_y"])[there].numpy()
    assert stats.kstest(radius**2 / population.radius**2, "uniform").pvalue > 1e-3
    mean = population.mean_number(drawn["f_sub"], GEOMETRY)
    chi2 = float(((drawn["subhalo_count"] - mean) ** 2 / mean).sum())
    assert 1e-3 < stats.chi2.cdf(chi2, 400) < 1 - 1e-3  # Poisson


def test_warm_dark_matter_lacks_the_light_ones() -> None:
    lens = {"theta_E": torch.ones(300, dtype=torch.float64)}
    cold = Subhalos(f_sub=Fixed(0.1)).draw(lens, torch.Generator().manual_seed(1), GEOMETRY)
    population = WarmSubhalos(f_sub=Fixed(0.1), half_mode_mass=Fixed(1e9))
    warm = population.draw(lens, torch.Generator().manual_seed(1), GEOMETRY)
    there = torch.arange(population.most) < warm["subhalo_count"][:, None]
    light, heavy = ((warm["subhalo_mass"] < 3e8) & there).sum(), ((warm["subhalo_mass"] > 3e9) & there).sum()
    there = torch.arange(population.most) < cold["subhalo_count"][:, None]
    all_light, all_heavy = ((cold["subhalo_mass"] < 3e8) & there).sum(), ((cold["subhalo_mass"] > 3e9) & there).sum()
    assert int(light) / int(all_light) < 0.4
    assert int(heavy) / int(all_heavy) > 0.7
    assert torch.allclose(warm["half_mode_mass"], torch.full((300,), 1e9, dtype=torch.float64))


def test_halos_below_1e8_change_the_signal_by_less_than_a_tenth() -> None:
    """They are not rendered. Rendered down to 1e7, the same lenses change their images hardly more."""
    preset = PRESETS.get("corrected/model-2")
    rich = Subhalos(f_sub=Fixed(0.03), faintest=1e7, most=1024)
    deep = replace(preset, populations={"no_sub": NoSubstructure(), "cdm": rich})
    parameters = draw(deep, torch.ones(16, dtype=torch.int64), 4)
    assert int(parameters["subhalo_count"].max()) < 1024
    signals = []
    for faintest in (1e7, 1e8, 1e11):
        kept = parameters["subhalo_theta_E"] * (parameters["subhalo_mass"] >= faintest)
        signals.append(clean_images(deep, parameters | {"subhalo_theta_E": kept}, compiled=False))
    full, cut, nothing = signals
    std = deep.instrument.noise.std(nothing, {"exposure": parameters["exposure"]})
    signal, of_cut = (((image - nothing) / std).square().sum((1, 2, 3)).sqrt() for image in (full, cut))
    assert of_cut.median() > 1  # there is one
    assert abs(float((signal / of_cut).median()) - 1) < 0.1
    assert abs(float(signal.square().sum() / of_cut.square().sum()) ** 0.5 - 1) < 0.1

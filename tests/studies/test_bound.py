"""The information bound where it is known: nothing, everything, and a Gaussian."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from arcformer.errors import InputError
from arcformer.sim.presets import PRESETS
from arcformer.sim.priors import Fixed, LogUniform
from arcformer.sim.substructure import NoSubstructure, Subhalos, Vortex
from arcformer.studies.bound import _Mixture, information_bound

EUCLID = PRESETS.get("corrected/model-2")


def two_classes(population) -> object:
    return replace(EUCLID, populations={"no_sub": NoSubstructure(), "other": population})


@pytest.mark.parametrize(("share", "low", "high"), [(1e-6, 0.4, 0.6), (0.5, 0.95, 1.0)])
def test_nothing_cannot_be_told_apart_and_much_can(share: float, low: float, high: float) -> None:
    bound = information_bound(two_classes(Subhalos(f_sub=Fixed(share))), lenses=3, draws=60)
    assert low < bound.pairs["no_sub", "other"].value <= high
    assert not bound.errors  # a share that is fixed is not measured


def test_a_macromodel_that_is_known_shows_more() -> None:
    preset = PRESETS.get("deeplense/model-1")
    known, refitted = (information_bound(preset, lenses=2, draws=60, refitted=refitted) for refitted in (False, True))
    for pair in (("no_sub", "cdm"), ("no_sub", "axion")):
        assert known.pairs[pair].value > refitted.pairs[pair].value
    assert known.errors["log10_half_length"].value < 0.5  # dex, a quarter of the prior's width


def test_a_vortex_is_measured_no_worse_than_its_prior_says() -> None:
    vortex = Vortex(mass=LogUniform(1e9, 1e10), half_length=LogUniform(0.1, 1.5), distance=Fixed(1.0))
    errors = information_bound(two_classes(vortex), lenses=2, draws=60).errors
    assert set(errors) == {"log10_mass", "log10_half_length"}
    assert 0 < errors["log10_mass"].value < np.sqrt(2 / np.pi) / np.sqrt(12) * 1.05  # of a decade


def test_the_likelihood_of_gaussian_draws_is_that_of_the_gaussian() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = 3 * torch.randn(2000, 1, generator=generator, dtype=torch.float64) + 1
    x = torch.tensor([[-4.0], [0.0], [1.0], [6.0]], dtype=torch.float64)
    expected = norm(1, np.sqrt(10)).logpdf(x[:, 0])
    found = _Mixture(draws, generator).log_density(x).numpy() - np.log(2 * np.pi) / 2
    assert found == pytest.approx(expected, abs=0.15)


def test_without_noise_there_is_no_bound() -> None:
    with pytest.raises(InputError, match="without noise"):
        information_bound(PRESETS.get("deeplense/model-2"), lenses=1, draws=10)

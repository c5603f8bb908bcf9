"""Populations: what many posteriors say together is what the data say together, and its intervals cover."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from exact import Exact, measured
from scipy import stats
from scipy.integrate import trapezoid

from arcformer.errors import InputError
from arcformer.metrics import wilson
from arcformer.sim.priors import Log10, LogUniform, Normal, Uniform
from arcformer.studies.population import Density, Ratios, log_ratios, scattered, shared

NOISE = 0.5


@pytest.mark.parametrize("lenses", [1, 10, 100, 1000])
@pytest.mark.parametrize("theta", [-0.6, 0.2, 1.3])
def test_a_shared_parameter_has_the_posterior_of_all_data(lenses, theta):
    """Under a Gaussian prior, and errors of which all are known, that is a Gaussian."""
    width = 0.8
    batch = measured(torch.full((lenses,), theta).double(), NOISE, seed=lenses)
    found = shared(log_ratios(Exact(NOISE, width), batch, "theta", Normal(0.0, width)))
    precision = 1 / width**2 + lenses / NOISE**2
    mean = float(batch.images.sum()) / NOISE**2 / precision
    assert found.mean == pytest.approx(mean, abs=2e-3 / math.sqrt(precision))
    assert found.std == pytest.approx(precision**-0.5, rel=2e-3)
    for level in (0.68, 0.95):
        exact = stats.norm(mean, precision**-0.5).interval(level)
        assert found.interval(level) == pytest.approx(exact, abs=5e-3 / math.sqrt(precision))


@pytest.mark.parametrize("lenses", [10, 100, 1000])
def test_its_intervals_cover(lenses):
    """Populations, each of one value that is drawn from the prior: as often as they should, it lies in the interval."""
    prior, task, populations = Uniform(-1.0, 1.0), Exact(NOISE), 200
    values = prior.quantile(torch.rand(populations, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    inside = {0.68: 0, 0.95: 0}
    for k, theta in enumerate(values.tolist()):
        batch = measured(torch.full((lenses,), theta).double(), NOISE, seed=k)
        found = shared(_alike(task, batch, prior))
        for level in inside:
            low, high = found.interval(level)
            inside[level] += low <= theta <= high
    for level, count in inside.items():
        interval = wilson(count, populations, level=0.999)
        assert interval.low <= level <= interval.high, (level, count)


def _alike(task: Exact, batch, prior) -> Ratios:
    """As ``log_ratios``, at once for all images, which this task allows."""
    mean = task.predict(batch).mean
    return Ratios.of(prior, lambda values: -((values - mean) ** 2) / 2 / task.sigma**2 - prior.log_prob(values))


def test_the_shortcut_of_these_tests_is_none():
    batch, prior = measured(torch.zeros(5).double(), NOISE, seed=0), Normal(0.0, 1.0)
    whole = log_ratios(Exact(NOISE, 1.0), batch, "theta", prior)
    short = _alike(Exact(NOISE, 1.0), batch, prior)
    torch.testing.assert_close(whole.log.log_softmax(1), short.log.log_softmax(1))
    assert not whole.narrow.any()


def test_the_prior_counts_once():
    """Lenses that say nothing leave it as it is, however many they are."""
    for prior in (Normal(0.3, 0.2), Uniform(-1.0, 2.0), LogUniform(0.01, 0.2), Log10(LogUniform(1e-24, 1e-22))):
        found = shared(Ratios(prior, torch.zeros(1000, 512, dtype=torch.float64)))
        for share in (0.1, 0.5, 0.9):
            there = float(prior.quantile(torch.tensor(share, dtype=torch.float64)))
            assert found.quantile(share) == pytest.approx(there, rel=2e-3, abs=1e-3)


def test_other_targets_are_averaged_over():
    prior, lenses = Normal(0.0, 0.8), 300
    batch = measured(torch.full((lenses,), 0.4).double(), NOISE, seed=5)
    alone = shared(log_ratios(Exact(NOISE, 0.8), batch, "theta", prior))
    among = shared(log_ratios(Exact(NOISE, 0.8, correlated=0.7), batch, "theta", prior, grid=256))
    assert among.mean == pytest.approx(alone.mean, abs=0.6 * alone.std)
    assert among.std == pytest.approx(alone.std, rel=0.1)
    apart = shared(log_ratios(Exact(NOISE, 0.8, correlated=0.0), batch, "phi", prior, grid=256))
    assert apart.mean == pytest.approx(alone.mean, abs=1e-3)


@pytest.mark.parametrize("spread", [0.1, 0.3])
def test_a_scatter_is_found(spread):
    """Against the posterior of the data on a grid: they scatter by noise and spread added in squares."""
    lenses, mean, prior = 400, 0.2, Uniform(-2.0, 2.0)
    truth = mean + spread * torch.randn(lenses, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    batch = measured(truth, 0.25, seed=9)
    by_mean, by_spread = scattered(_alike(Exact(0.25), batch, prior))
    data = batch.images.flatten().numpy()
    m, s = np.linspace(0, 0.4, 201), np.linspace(0.01, 2, 800)
    total = np.hypot(s, 0.25)[None]
    log = -0.5 * (((data[:, None, None] - m[None, :, None]) / total) ** 2).sum(0) - lenses * np.log(total)
    density = np.exp(log - log.max())
    p = density.sum(1) / density.sum()
    assert by_mean.mean == pytest.approx((p * m).sum(), abs=0.1 * by_mean.std)
    q = density.sum(0) / density.sum()
    assert by_spread.mean == pytest.approx((q * s).sum(), rel=0.05)
    low, high = by_spread.interval(0.999)
    assert low < spread < high
    low, high = by_mean.interval(0.999)
    assert low < mean < high


def test_one_lens_is_a_population_too():
    batch, prior = measured(torch.zeros(1).double(), NOISE, seed=0), Uniform(-1.0, 1.0)
    ratios = log_ratios(Exact(NOISE), batch, "theta", prior)
    assert len(ratios) == 1
    for density in (shared(ratios), *scattered(ratios)):
        assert trapezoid(density.density, density.values) == pytest.approx(1)
        assert density.interval(0.68)[0] < density.quantile(0.5) < density.interval(0.68)[1]


def test_a_grid_that_is_too_coarse_is_noticed():
    batch, prior = measured(torch.zeros(3).double(), 1e-3, seed=0), Uniform(-1.0, 1.0)
    assert log_ratios(Exact(1e-3), batch, "theta", prior).narrow.all()
    assert not log_ratios(Exact(1e-3), batch, "theta", prior, grid=4096).narrow.any()


def test_what_cannot_be_inferred_is_said():
    batch = measured(torch.zeros(2).double(), NOISE, seed=0)
    with pytest.raises(InputError, match=r"does not estimate 'thet'; did you mean 'theta'\?"):
        log_ratios(Exact(NOISE), batch, "thet", Normal(0.0, 1.0))
    task = Exact(NOISE)
    task.predict = lambda batch: replace(p := Exact(NOISE).predict(batch), features=p.features)  # type: ignore
    task.log_prob = lambda prediction, values: values[:, 0] * torch.nan  # type: ignore
    with pytest.raises(InputError, match=r"0/0: the density of theta is not a number"):
        log_ratios(task, batch, "theta", Normal(0.0, 1.0))


def test_a_density_says_what_it_is():
    x = np.linspace(-6, 8, 4001)
    density = Density(x, stats.norm(1.0, 0.7).pdf(x))
    assert (density.mean, density.std) == (pytest.approx(1.0), pytest.approx(0.7))
    assert density.interval(0.95) == pytest.approx(stats.norm(1.0, 0.7).interval(0.95), abs=1e-3)

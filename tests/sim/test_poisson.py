"""Poisson numbers by inversion against SciPy's quantiles, number by number, and against its distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from arcformer.sim import poisson as module
from arcformer.sim.poisson import poisson, poisson_quantile

RATES = (0.03, 0.7, 1.99, 2.01, 5.3, 17.0, 240.0, 3100.0)


def normals(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))


def p_value(counts: torch.Tensor, rate: float) -> float:
    """Of Pearson's chi-square, cells of at least 20 expected."""
    numbers = np.arange(int(stats.poisson.ppf(1e-12, rate)), int(stats.poisson.isf(1e-12, rate)) + 1)
    cell = (np.cumsum(stats.poisson.pmf(numbers, rate)) * len(counts) // 20).astype(int)
    _, cell = np.unique(cell, return_inverse=True)
    expected = np.bincount(cell, stats.poisson.pmf(numbers, rate)) * len(counts)
    assert numbers[0] <= counts.min()
    assert counts.max() <= numbers[-1]
    observed = np.bincount(cell[counts.numpy().astype(int) - numbers[0]], minlength=len(expected))
    return stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_number_is_the_quantile(dtype):
    rates = torch.cat([torch.zeros(1), torch.logspace(-4, 5, 400), torch.linspace(0.5, 3.5, 121)]).to(dtype)
    normal = torch.linspace(-5.77, 5.77, 301, dtype=dtype)
    rates, normal = (grid.contiguous() for grid in torch.broadcast_tensors(rates[:, None], normal))
    counts = poisson_quantile(rates, normal).double().numpy()
    rates, normal = rates.double().numpy(), normal.double().numpy()
    tail = stats.norm.sf(abs(normal))
    expected = np.where(normal < 0, stats.poisson.ppf(tail, rates), stats.poisson.isf(tail, rates)).clip(min=0)
    np.testing.assert_array_equal(counts, expected)


def test_the_bracket_is_nearly_always_closed():
    """Otherwise bisection would give the right numbers, but slowly."""
    rates = 10 ** torch.linspace(-3, 4, 200_000)
    low, high = module._bracket(rates, normals(200_000, 1))
    assert (low < high).float().mean() < 0.005


@pytest.mark.parametrize("rate", RATES)
def test_numbers_are_distributed_as_they_should(rate):
    counts = poisson_quantile(torch.full((400_000,), rate), normals(400_000, 2))
    assert p_value(counts, rate) > 1e-3


@pytest.mark.parametrize("rate", [5.3, 240.0])
def test_a_rounded_normal_number_would_not_pass(rate):
    counts = (rate + np.sqrt(rate) * normals(400_000, 2)).round().clamp(min=0)
    assert p_value(counts.clamp(max=stats.poisson.isf(1e-12, rate)), rate) < 1e-9


def test_a_rate_of_zero_gives_nothing():
    assert poisson_quantile(torch.zeros(100_000), normals(100_000, 3)).eq(0).all()


@pytest.mark.parametrize("eager", ["", "1"])
def test_numbers_follow_from_the_generator(monkeypatch, eager):
    monkeypatch.setenv("ARCFORMER_EAGER", "1")  # both ways without a compiler: it is the way that is chosen
    monkeypatch.setattr(module, "can_compile", lambda: not eager)
    rates = torch.linspace(0, 50, 600).reshape(2, 20, 15)

    def draw(seed: int) -> torch.Tensor:
        return poisson(rates, torch.Generator().manual_seed(seed))

    torch.manual_seed(0)
    first = draw(7)
    torch.manual_seed(1)
    assert draw(7).equal(first)
    assert not draw(8).equal(first)
    assert (first.shape, first.dtype) == (rates.shape, rates.dtype)

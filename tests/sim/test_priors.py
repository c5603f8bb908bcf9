"""Priors: within their limits, distributed as they say, and refused where they cannot be drawn from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from arcformer.errors import InputError
from arcformer.sim.priors import Fixed, Log10, LogUniform, Normal, Power, PowerLaw, Uniform

POSITIVE = st.floats(1e-30, 1e12)


def drawn(prior, count=5000, seed=0):
    return prior.draw((count,), torch.Generator().manual_seed(seed))


@given(low=POSITIVE, ratio=st.floats(1.001, 1e12), slope=st.floats(-3, 3).filter(lambda s: abs(s + 1) > 1e-3))
def test_draws_lie_within_the_limits(low, ratio, slope):
    high = low * ratio
    for prior in (Uniform(low, high), LogUniform(low, high), PowerLaw(slope, low, high)):
        values = drawn(prior, 200)
        assert values.dtype == torch.float64
        assert values.min() >= low * (1 - 1e-9)
        assert values.max() <= high * (1 + 1e-9)


def test_a_fixed_value_is_that_value():
    assert Fixed(1.5).draw((2, 3), torch.Generator()).equal(torch.full((2, 3), 1.5, dtype=torch.float64))


@pytest.mark.parametrize(
    ("prior", "cdf"),
    [
        (Uniform(-0.35, 0.35), lambda x: (x + 0.35) / 0.7),
        (LogUniform(1e-24, 1e-22), lambda x: np.log(x / 1e-24) / np.log(100)),
        (PowerLaw(-0.9, 1e6, 1e10), lambda x: (x**0.1 - 1e6**0.1) / (1e10**0.1 - 1e6**0.1)),
        (PowerLaw(-1.9, 1e6, 1e10), lambda x: (1e6**-0.9 - x**-0.9) / (1e6**-0.9 - 1e10**-0.9)),
        (PowerLaw(2.0, 1.0, 3.0), lambda x: (x**3 - 1) / 26),
    ],
)
def test_draws_are_distributed_as_they_should(prior, cdf):
    assert stats.kstest(drawn(prior).numpy(), cdf).pvalue > 0.01


ORACLES = [
    (Uniform(-0.35, 0.35), stats.uniform(-0.35, 0.7)),
    (LogUniform(1e-24, 1e-22), stats.loguniform(1e-24, 1e-22)),
    (Normal(1.05, 0.15), stats.norm(1.05, 0.15)),
    (PowerLaw(2.0, 1.0, 3.0), None),
    (Log10(LogUniform(1e-24, 1e-22)), stats.uniform(-24.0, 2.0)),
    (Power(LogUniform(0.1, 1.5), 3e-24, -1.0), stats.loguniform(3e-24 / 1.5, 3e-24 / 0.1)),
    (Power(Uniform(1.0, 4.0), 2.0, 0.5), None),
    (Log10(Power(PowerLaw(-0.9, 1e6, 1e10), 1e-3, 0.5)), None),
]


@pytest.mark.parametrize(("prior", "oracle"), ORACLES, ids=lambda it: str(it)[:40])
def test_density_and_quantiles_belong_together(prior, oracle):
    shares = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    values = prior.quantile(shares)
    step = 1e-6
    slope = (prior.quantile(shares + step) - prior.quantile(shares - step)) / (2 * step)
    torch.testing.assert_close(prior.log_prob(values), -slope.log(), atol=1e-5, rtol=1e-5)
    if oracle is not None:
        np.testing.assert_allclose(values.numpy(), oracle.ppf(shares.numpy()), rtol=1e-9)
        np.testing.assert_allclose(prior.log_prob(values).numpy(), oracle.logpdf(values.numpy()), rtol=1e-9, atol=1e-9)
    draws = prior.draw((20_000,), torch.Generator().manual_seed(3)).sort().values
    ranks = torch.searchsorted(prior.quantile(torch.linspace(0, 1, 4001, dtype=torch.float64)), draws) / 4001
    assert stats.kstest(ranks.numpy(), "uniform").pvalue > 1e-3


def test_there_is_no_density_beyond_the_ends():
    beyond = torch.tensor([0.09, 2.01, 1e9], dtype=torch.float64)
    for prior in (
        Uniform(0.1, 2.0),
        LogUniform(0.1, 2.0),
        PowerLaw(-2.0, 0.1, 2.0),
        Power(Uniform(0.1, 2.0), 1.0, 1.0),
    ):
        assert prior.log_prob(beyond).tolist() == [-torch.inf] * 3
    assert Fixed(1.0).log_prob(torch.tensor([1.0, 2.0])).tolist() == [0.0, -torch.inf]


def test_shapes_and_streams():
    prior = Uniform(0.0, 1.0)
    assert prior.draw((2, 3), torch.Generator()).shape == (2, 3)
    assert drawn(prior, seed=1).equal(drawn(prior, seed=1))
    assert not drawn(prior, seed=1).equal(drawn(prior, seed=2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(1.0, 1.0), "Uniform.* cannot be drawn from: expected low < high"),
        (lambda: Uniform(2.0, 1.0), "expected low < high"),
        (lambda: Uniform(float("nan"), 1.0), "expected low < high"),
        (lambda: LogUniform(0.0, 1.0), "LogUniform.*expected 0 < low < high"),
        (lambda: PowerLaw(-0.9, -1.0, 1.0), "PowerLaw.*expected 0 < low < high"),
        (lambda: PowerLaw(-1.0, 1.0, 2.0), r"a slope of -1 is LogUniform\(1.0, 2.0\)"),
    ],
)
def test_what_cannot_be_drawn_from_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()

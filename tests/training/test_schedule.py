"""The learning rate and the average of the weights, against what the papers say."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from arcformer.models.average import follow
from arcformer.training.average import rising
from arcformer.training.schedule import rate_factor


@given(st.integers(2, 5000), st.floats(0, 1))
def test_the_rate_rises_to_one_and_falls_to_zero(steps: int, warmup: float) -> None:
    factors = [rate_factor(step, steps, warmup) for step in range(0, steps, max(1, steps // 50))]
    rising = round(warmup * steps)
    assert all(0 <= factor <= 1 for factor in factors)
    assert rate_factor(max(rising - 1, 0), steps, warmup) == pytest.approx(1)
    assert rate_factor(steps, steps, warmup) == pytest.approx(0 if rising < steps else 1, abs=1e-9)


def test_half_a_cosine() -> None:
    assert rate_factor(50, 100, 0) == pytest.approx(0.5)
    assert rate_factor(25, 100, 0) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


def test_the_average_follows() -> None:
    average, task = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    nn.init.constant_(task.weight, 3.0)
    task.running_mean.fill_(7)
    follow(average, task, rising(0.9, 10**6))
    assert torch.allclose(average.weight, torch.full((2,), 0.9 * 1 + 0.1 * 3))
    assert torch.equal(average.running_mean, task.running_mean)
    follow(average, task, rising(0.9, 1))  # early on, the random start is soon forgotten
    early = 2 / 11
    assert torch.allclose(average.weight, torch.full((2,), early * 1.2 + (1 - early) * 3.0))

"""Priors: one-dimensional distributions that a preset is made of, drawn in float64 from a given stream.

All but ``Normal`` are drawn by the inverse of their cumulative distribution, so that ``quantile`` is what defines them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from arcformer.errors import InputError

__all__ = ["NOTHING", "ONE", "Fixed", "Log10", "LogUniform", "Normal", "Power", "PowerLaw", "Prior", "Uniform"]


@runtime_checkable
class Prior(Protocol):
    """A distribution of one number."""

    def draw(self, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """Independent draws, float64, of the given shape."""
        ...

    def quantile(self, shares: Tensor) -> Tensor:
        """The values below which these shares of it lie, each in [0, 1]."""
        ...

    def log_prob(self, values: Tensor) -> Tensor:
        """Logarithm of its density, nats; minus infinity where it has none."""
        ...


class _ByInverse:
    """Drawn by ``quantile``."""

    def draw(self: Prior, shape: tuple[int, ...], generator: Generator) -> Tensor:
        return self.quantile(torch.rand(shape, generator=generator, dtype=torch.float64))


@dataclass(frozen=True)
class Fixed:
    """Always ``value``. It has no density: ``log_prob`` is that of being this value."""

    value: float

    def draw(self, shape: tuple[int, ...], generator: Generator) -> Tensor:
        return torch.full(shape, self.value, dtype=torch.float64)

    def quantile(self, shares: Tensor) -> Tensor:
        return torch.full_like(shares, self.value)

    def log_prob(self, values: Tensor) -> Tensor:
        return torch.where(values == self.value, 0.0, -torch.inf)


NOTHING, ONE = Fixed(0.0), Fixed(1.0)


@dataclass(frozen=True)
class Uniform(_ByInverse):
    """Uniform on [low, high)."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _ordered(self, self.low, self.high)

    def quantile(self, shares: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * shares

    def log_prob(self, values: Tensor) -> Tensor:
        return _within(self, values, torch.full_like(values, -math.log(self.high - self.low)))


@dataclass(frozen=True)
class LogUniform(_ByInverse):
    """Uniform in the logarithm, on [low, high)."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _ordered(self, self.low, self.high, positive=True)

    def quantile(self, shares: Tensor) -> Tensor:
        return Uniform(math.log(self.low), math.log(self.high)).quantile(shares).exp()

    def log_prob(self, values: Tensor) -> Tensor:
        return _within(self, values, -values.log() - math.log(math.log(self.high / self.low)))


@dataclass(frozen=True)
class Normal:
    """Gaussian."""

    mean: float
    std: float

    def __post_init__(self) -> None:
        if not self.std > 0:
            raise InputError(f"{self} cannot be drawn from: expected a positive std")

    def draw(self, shape: tuple[int, ...], generator: Generator) -> Tensor:
        return self.mean + self.std * torch.randn(shape, generator=generator, dtype=torch.float64)

    def quantile(self, shares: Tensor) -> Tensor:
        return self.mean + self.std * torch.special.ndtri(shares)

    def log_prob(self, values: Tensor) -> Tensor:
        return -(((values - self.mean) / self.std) ** 2 + math.log(2 * math.pi * self.std**2)) / 2


@dataclass(frozen=True)
class PowerLaw(_ByInverse):
    """p(x) ~ x^slope on [low, high), by the inverse of its cumulative distribution; slope -1 is ``LogUniform``."""

    slope: float
    low: float
    high: float

    def __post_init__(self) -> None:
        _ordered(self, self.low, self.high, positive=True)
        if self.slope == -1:
            raise InputError(f"{self}: a slope of -1 is LogUniform({self.low}, {self.high})")

    def quantile(self, shares: Tensor) -> Tensor:
        power = self.slope + 1
        return shares.mul(self.high**power - self.low**power).add(self.low**power) ** (1 / power)

    def log_prob(self, values: Tensor) -> Tensor:
        power = self.slope + 1
        total = (self.high**power - self.low**power) / power
        return _within(self, values, self.slope * values.log() - math.log(total))


@dataclass(frozen=True)
class Log10(_ByInverse):
    """Of the decadic logarithm of what is distributed as ``of``."""

    of: Prior

    def quantile(self, shares: Tensor) -> Tensor:
        return self.of.quantile(shares).log10()

    def log_prob(self, values: Tensor) -> Tensor:
        number = 10**values
        return self.of.log_prob(number) + number.log() + math.log(math.log(10))


@dataclass(frozen=True)
class Power(_ByInverse):
    """Of ``factor`` times a power of what is distributed as ``of``, all of which is positive."""

    of: Prior
    factor: float
    exponent: float

    def quantile(self, shares: Tensor) -> Tensor:
        return self.factor * self.of.quantile(shares if self.exponent > 0 else 1 - shares) ** self.exponent

    def log_prob(self, values: Tensor) -> Tensor:
        number = (values / self.factor) ** (1 / self.exponent)
        return self.of.log_prob(number) + number.log() - values.log() - math.log(abs(self.exponent))


def _within(prior: Uniform | LogUniform | PowerLaw, values: Tensor, density: Tensor) -> Tensor:
    """``density`` between the ends of a prior, by a rounding more than them, and none beyond."""
    slack = 1e-9 * max(abs(prior.low), abs(prior.high))
    return density.masked_fill((values < prior.low - slack) | (values > prior.high + slack), -torch.inf)


def _ordered(prior: Prior, low: float, high: float, positive: bool = False) -> None:
    if not low < high or (positive and low <= 0):
        raise InputError(f"{prior} cannot be drawn from: expected {'0 < ' if positive else ''}low < high")

"""Priors: one-dimensional distributions that a preset is made of, drawn in float64 from a given stream."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from arcformer.errors import InputError

__all__ = ["NOTHING", "ONE", "Fixed", "LogUniform", "Normal", "PowerLaw", "Prior", "Uniform"]


class Prior(Protocol):
    """A distribution of one number."""

    def draw(self, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """Independent draws, float64, of the given shape."""
        ...


@dataclass(frozen=True)
class Fixed:
    """Always ``value``."""

    value: float

    def draw(self, shape: tuple[int, ...], generator: Generator) -> Tensor:
        return torch.full(shape, self.value, dtype=torch.float64)


NOTHING, ONE = Fixed(0.0), Fixed(1.0)


@dataclass(frozen=True)
class Uniform:
    """Uniform on [low, high)."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _ordered(self, self.low, self.high)

    def draw(self, shape: tuple[int, ...], generator: Generator) -> Tensor:
        return self.low + (self.high - self.low) * torch.rand(shape, generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class LogUniform:
    """Uniform in the logarithm, on [low, high)."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _ordered(self, self.low, self.high, positive=True)

    def draw(self, shape: tuple[int, ...], generator: Generator) -> Tensor:
        return Uniform(math.log(self.low), math.log(self.high)).draw(shape, generator).exp()


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


@dataclass(frozen=True)
class PowerLaw:
    """p(x) ~ x^slope on [low, high), by the inverse of its cumulative distribution; slope -1 is ``LogUniform``."""

    slope: float
    low: float
    high: float

    def __post_init__(self) -> None:
        _ordered(self, self.low, self.high, positive=True)
        if self.slope == -1:
            raise InputError(f"{self}: a slope of -1 is LogUniform({self.low}, {self.high})")

    def draw(self, shape: tuple[int, ...], generator: Generator) -> Tensor:
        power = self.slope + 1
        return Uniform(0.0, 1.0).draw(shape, generator).mul(self.high**power - self.low**power).add(
            self.low**power
        ) ** (1 / power)


def _ordered(prior: Prior, low: float, high: float, positive: bool = False) -> None:
    if not low < high or (positive and low <= 0):
        raise InputError(f"{prior} cannot be drawn from: expected {'0 < ' if positive else ''}low < high")

"""Populations of dark matter below the halo: how many, how heavy, where. Masses Msun, angles arcsec.

Each class of a preset has one. ``draw`` gives parameters by name, among them always the same three that are rendered:
``point_x``, ``point_y`` and ``point_mass``, (B, N).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from arcformer.sim.priors import Prior, Uniform

__all__ = ["NoSubstructure", "PointMassSubhalos", "Population", "PublishedVortex"]

FULL_TURN = Uniform(0.0, 2 * math.pi)


class Population(Protocol):
    """Substructure of one class."""

    @property
    def size(self) -> int:
        """How many point masses a lens has."""
        ...

    def draw(self, count: int, generator: Generator) -> dict[str, Tensor]:
        """Parameters of ``count`` lenses, (count, ...) each, float64."""
        ...


@dataclass(frozen=True)
class NoSubstructure:
    """A smooth lens."""

    size: int = 0

    def draw(self, count: int, generator: Generator) -> dict[str, Tensor]:
        nothing = torch.zeros(count, 0, dtype=torch.float64)
        return {"point_x": nothing, "point_y": nothing, "point_mass": nothing}


@dataclass(frozen=True)
class PointMassSubhalos:
    """Subhalos as point masses, a fixed number of them, in a ring around the centre: uniform in radius and angle."""

    size: int
    mass: Prior
    radius: Prior

    def draw(self, count: int, generator: Generator) -> dict[str, Tensor]:
        shape = (count, self.size)
        mass = self.mass.draw(shape, generator)
        radius, angle = self.radius.draw(shape, generator), FULL_TURN.draw(shape, generator)
        return {"point_x": radius * angle.sin(), "point_y": radius * angle.cos(), "point_mass": mass}


@dataclass(frozen=True)
class PublishedVortex:
    """A vortex as ``size`` equal point masses on a line through the centre of the lens, at any angle.

    Its half-length is the de Broglie wavelength that DeepLenseSim takes for an axion of mass m at z = 0.5,
    0.06" * 1e-22 eV / (2 m).
    """

    size: int
    mass: float
    axion_mass_eV: Prior

    def draw(self, count: int, generator: Generator) -> dict[str, Tensor]:
        axion = self.axion_mass_eV.draw((count,), generator)
        angle = FULL_TURN.draw((count,), generator)
        half_length = 0.06e-22 / (2 * axion)
        along = half_length[:, None] * torch.linspace(-1, 1, self.size, dtype=torch.float64)
        return {
            "point_x": along * angle.cos()[:, None],
            "point_y": along * angle.sin()[:, None],
            "point_mass": torch.full((count, self.size), self.mass / self.size, dtype=torch.float64),
            "axion_mass_eV": axion,
            "vortex_half_length": half_length,
            "vortex_angle": angle,
        }

"""Populations of dark matter below the halo: how many, how heavy, where. Masses Msun, angles arcsec.

Each class of a preset has one. Its ``draw`` gives parameters by name. Those that are rendered come as tables of one
kind of deflector (see ``deflectors.py``), every column (B, N) and padded: ``point_x``, ``point_y``, ``point_mass`` and
``point_count`` (B,), and likewise for ``subhalo`` and ``line``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Generator, Tensor

from arcformer.errors import InputError
from arcformer.sim.cosmology import Geometry
from arcformer.sim.halos import concentration
from arcformer.sim.priors import LogUniform, PowerLaw, Prior, Uniform

__all__ = [
    "Mixture",
    "NoSubstructure",
    "PointMassSubhalos",
    "Population",
    "PublishedVortex",
    "Subhalos",
    "Vortex",
    "WarmSubhalos",
]

Lens = Mapping[str, Tensor]

FULL_TURN = Uniform(0.0, 2 * math.pi)

HALF_LENGTH = 0.06e-22 / 2
"""Half-length of a vortex, arcsec, times the axion's mass, eV: DeepLenseSim's de Broglie wavelength at z = 0.5."""


class Population(Protocol):
    """Substructure of one class."""

    @property
    def tables(self) -> Mapping[str, int]:
        """The kinds of deflectors it has, and how many rows a lens's table of each has room for."""
        ...

    def draw(self, lens: Lens, generator: Generator, geometry: Geometry) -> dict[str, Tensor]:
        """Parameters of the substructure of B lenses, (B, ...) each, float64, the numbers of deflectors int64.

        ``lens`` are the parameters of the halo and the shear, (B,) each. They may say where something is, and are drawn
        without regard to the class.
        """
        ...


@dataclass(frozen=True)
class NoSubstructure:
    """A smooth lens."""

    tables: Mapping[str, int] = field(default_factory=dict)

    def draw(self, lens: Lens, generator: Generator, geometry: Geometry) -> dict[str, Tensor]:
        return {}


@dataclass(frozen=True)
class Mixture:
    """A population with a ``share`` of lenses of other ones, of each as many, that nothing tells from the rest.

    What only they have, as a mass of the axion, is not given: it would say which they are.
    """

    main: Population
    others: tuple[Population, ...]
    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share < 1 or not self.others:
            raise InputError(f"a mixture of {len(self.others)} others, {self.share:g} of all: expected some, in (0, 1)")

    @property
    def tables(self) -> Mapping[str, int]:
        each = [population.tables for population in (self.main, *self.others)]
        kinds = dict.fromkeys(kind for tables in each for kind in tables)
        return {kind: max(tables.get(kind, 0) for tables in each) for kind in kinds}

    def draw(self, lens: Lens, generator: Generator, geometry: Geometry) -> dict[str, Tensor]:
        count = len(lens["theta_E"])
        place = torch.rand(count, generator=generator, dtype=torch.float64)
        which = torch.where(place < self.share, 1 + (place / self.share * len(self.others)).long(), 0)
        found = {f"{kind}_count": torch.zeros(count, dtype=torch.int64) for kind in self.tables}
        for index, population in enumerate((self.main, *self.others)):
            drawn = population.draw(lens, generator, geometry)
            for name, values in drawn.items():
                kind = name.partition("_")[0]
                if kind not in self.tables:
                    continue
                rows = which == index
                if name == f"{kind}_count":
                    found[name][rows] = values[rows]
                else:
                    room = torch.zeros(count, self.tables[kind], dtype=torch.float64)
                    found.setdefault(name, room)[rows, : values.shape[1]] = values[rows]
        return found


@dataclass(frozen=True)
class PointMassSubhalos:
    """Subhalos as point masses, a fixed number of them, in a ring around the centre: uniform in radius and angle."""

    size: int
    mass: Prior
    radius: Prior

    @property
    def tables(self) -> Mapping[str, int]:
        return {"point": self.size}

    def draw(self, lens: Lens, generator: Generator, geometry: Geometry) -> dict[str, Tensor]:
        count = len(lens["theta_E"])
        shape = (count, self.size)
        mass = self.mass.draw(shape, generator)
        radius, angle = self.radius.draw(shape, generator), FULL_TURN.draw(shape, generator)
        return {
            "point_x": radius * angle.sin(),
            "point_y": radius * angle.cos(),
            "point_mass": mass,
            "point_count": torch.full((count,), self.size),
        }


@dataclass(frozen=True)
class PublishedVortex:
    """A vortex as ``size`` equal point masses on a line through the centre of the lens, at any angle."""

    size: int
    mass: float
    axion_mass_eV: Prior

    @property
    def tables(self) -> Mapping[str, int]:
        return {"point": self.size}

    def draw(self, lens: Lens, generator: Generator, geometry: Geometry) -> dict[str, Tensor]:
        count = len(lens["theta_E"])
        axion = self.axion_mass_eV.draw((count,), generator)
        angle = FULL_TURN.draw((count,), generator)
        half_length = HALF_LENGTH / axion
        return {
            **self.rebuilt({"log10_half_length": half_length.log10(), "angle": angle}),
            "axion_mass_eV": axion,
            "vortex_half_length": half_length,
            "vortex_angle": angle,
        }

    def measurable(self, drawn: Lens) -> dict[str, Tensor]:
        """What could be measured of the vortices that were drawn, (B,) each."""
        return {"log10_half_length": drawn["vortex_half_length"].log10(), "angle": drawn["vortex_angle"]}

    def rebuilt(self, measured: Lens) -> dict[str, Tensor]:
        """The table of point masses of vortices of which this is known."""
        half_length, angle = 10 ** measured["log10_half_length"], measured["angle"]
        along = half_length[:, None] * torch.linspace(-1, 1, self.size, dtype=torch.float64)
        return {
            "point_x": along * angle.cos()[:, None],
            "point_y": along * angle.sin()[:, None],
            "point_mass": torch.full((len(angle), self.size), self.mass / self.size, dtype=torch.float64),
            "point_count": torch.full((len(angle),), self.size),
        }


@dataclass(frozen=True)
class Subhalos:
    """Cold dark matter: truncated NFW halos, dn/dm ~ m^slope, Poisson in number, uniform on the sky within ``radius``.

    Attributes:
        f_sub: mean surface density of all subhalos between ``lightest`` and ``heaviest``, over half the critical one:
            the share of dark matter in them, where a ring is half dark matter.
        slope: of the mass function, -1.9.
        lightest, faintest, heaviest: bound masses. Those from ``faintest`` on are rendered one by one; those below
            are a smooth sheet, which within ``radius`` is a uniform convergence: a macromodel absorbs all of it, and
            none of it is rendered.
        radius: arcsec.
        most: room for halos; more are not drawn.
    """

    f_sub: Prior
    slope: float = -1.9
    lightest: float = 1e6
    faintest: float = 1e8
    heaviest: float = 1e10
    radius: float = 3.0
    most: int = 512

    def __post_init__(self) -> None:
        if not 0 < self.lightest <= self.faintest < self.heaviest or self.radius <= 0 or self.most < 1:
            raise InputError(
                f"{self}: expected 0 < lightest <= faintest < heaviest, a positive radius and room for one"
            )

    @property
    def tables(self) -> Mapping[str, int]:
        return {"subhalo": self.most}

    def mean_number(self, f_sub: Tensor, geometry: Geometry) -> Tensor:
        """How many subhalos are rendered on average."""
        total = f_sub * 0.5 * geometry.critical_surface_density * math.pi * self.radius**2
        number, mass = (self._integral(low, power) for low, power in ((self.faintest, 0), (self.lightest, 1)))
        return total * number / mass

    def draw(self, lens: Lens, generator: Generator, geometry: Geometry) -> dict[str, Tensor]:
        count = len(lens["theta_E"])
        f_sub = self.f_sub.draw((count,), generator)
        number = torch.poisson(self.mean_number(f_sub, geometry), generator=generator).clamp(max=self.most)
        shape = (count, self.most)
        mass = PowerLaw(self.slope, self.faintest, self.heaviest).draw(shape, generator)
        radius = self.radius * Uniform(0.0, 1.0).draw(shape, generator).sqrt()
        angle = FULL_TURN.draw(shape, generator)
        return {
            "subhalo_x": radius * angle.cos(),
            "subhalo_y": radius * angle.sin(),
            "subhalo_mass": mass,
            "subhalo_scale": self._scale(mass, geometry),
            "subhalo_count": number.long(),
            "f_sub": f_sub,
        }

    def _scale(self, mass: Tensor, geometry: Geometry) -> Tensor:
        """Scale radius: r200 over the concentration, with the bound mass taken for M200, a convention of ours."""
        r200 = (3 * mass / (4 * math.pi * 200 * geometry.critical_density)) ** (1 / 3)
        return r200 * geometry.arcsec_per_mpc / concentration(mass, geometry.z_lens, geometry.hubble)

    def _integral(self, low: float, power: int) -> float:
        """Of m^(slope + power) from ``low`` to ``heaviest``."""
        k = self.slope + power + 1
        return (self.heaviest**k - low**k) / k


@dataclass(frozen=True)
class WarmSubhalos(Subhalos):
    """Warm dark matter: ``Subhalos`` with those below a half-mode mass suppressed and less concentrated.

    n(m) -> n(m) (1 + (4.2 M_hm / m)^2.5)^-0.2 (Lovell 2020, ApJ 897, 147, for subhalos), by thinning; c -> c (1 + 60
    M_hm / m)^-0.17 (Bose et al. 2016, MNRAS 455, 318). ``f_sub`` is that of the cold population before.
    """

    half_mode_mass: Prior = field(default_factory=lambda: LogUniform(1e7, 1e10))

    def draw(self, lens: Lens, generator: Generator, geometry: Geometry) -> dict[str, Tensor]:
        drawn = super().draw(lens, generator, geometry)
        half_mode = self.half_mode_mass.draw(tuple(drawn["f_sub"].shape), generator)
        ratio = half_mode[:, None] / drawn["subhalo_mass"]
        chance = Uniform(0.0, 1.0).draw(tuple(ratio.shape), generator)
        kept = (chance < (1 + (4.2 * ratio) ** 2.5) ** -0.2) & _present(drawn["subhalo_count"], self.most)
        drawn["subhalo_scale"] = drawn["subhalo_scale"] * (1 + 60 * ratio) ** 0.17
        order = kept.long().argsort(dim=1, descending=True, stable=True)  # those that are there, first
        columns = {
            name: drawn[name].gather(1, order) for name in ("subhalo_x", "subhalo_y", "subhalo_mass", "subhalo_scale")
        }
        return drawn | columns | {"subhalo_count": kept.sum(1), "half_mode_mass": half_mode}


@dataclass(frozen=True)
class Vortex:
    """A line of mass somewhere on the ring, at any angle (see ``vortex.py``).

    Attributes:
        mass: of the line.
        half_length: arcsec; the axion's mass follows from it as in ``PublishedVortex``.
        distance: of its middle from the centre of the lens, in Einstein radii.
    """

    mass: Prior
    half_length: Prior
    distance: Prior

    @property
    def tables(self) -> Mapping[str, int]:
        return {"line": 1}

    def draw(self, lens: Lens, generator: Generator, geometry: Geometry) -> dict[str, Tensor]:
        shape = (len(lens["theta_E"]),)
        priors = (self.distance, FULL_TURN, FULL_TURN, self.mass, self.half_length)
        distance, place, angle, mass, half_length = (prior.draw(shape, generator) for prior in priors)
        radius = lens["theta_E"] * distance
        x, y = lens["lens_x"] + radius * place.cos(), lens["lens_y"] + radius * place.sin()
        return {
            "line_x": x[:, None],
            "line_y": y[:, None],
            "line_angle": angle[:, None],
            "line_half_length": half_length[:, None],
            "line_mass": mass[:, None],
            "line_count": torch.ones(shape, dtype=torch.int64),
            "vortex_x": x,
            "vortex_y": y,
            "vortex_mass": mass,
            "vortex_half_length": half_length,
            "axion_mass_eV": HALF_LENGTH / half_length,
        }

    def measurable(self, drawn: Lens) -> dict[str, Tensor]:
        """What could be measured of the vortices that were drawn, (B,) each."""
        known = {name: drawn[f"line_{name}"][:, 0] for name in ("x", "y", "angle", "mass", "half_length")}
        logarithms = {f"log10_{name}": known.pop(name).log10() for name in ("mass", "half_length")}
        return known | logarithms

    def rebuilt(self, measured: Lens) -> dict[str, Tensor]:
        """The table of vortices of which this is known."""
        columns = {name: measured[name] for name in ("x", "y", "angle")}
        columns |= {name: 10 ** measured[f"log10_{name}"] for name in ("mass", "half_length")}
        count = torch.ones(len(columns["x"]), dtype=torch.int64)
        return {f"line_{name}": column[:, None] for name, column in columns.items()} | {"line_count": count}


def _present(number: Tensor, most: int) -> Tensor:
    """Which rows of tables with so many entries hold one, (B, most)."""
    return torch.arange(most) < number[:, None]

"""What a preset is: all that defines a simulated data set, as a frozen dataclass of priors, with its provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import torch
from torch import Generator, Tensor

from arcformer.errors import InputError, near
from arcformer.registry import Registry
from arcformer.sim.cosmology import Geometry
from arcformer.sim.galaxies import Galaxy, Stamps
from arcformer.sim.instrument import Instrument
from arcformer.sim.parameters import TARGETS, drawn_as
from arcformer.sim.priors import NOTHING, ONE, Prior
from arcformer.sim.substructure import Mixture, Population

__all__ = ["MACROMODEL", "PRESETS", "Lens", "Preset", "register"]

PRESETS: Registry[Preset] = Registry("preset")


@dataclass(frozen=True)
class Lens:
    """Priors of halo, shear and multipoles. The halo is as big as its ``halo_mass`` or its ``theta_E`` says.

    The slope is that of the convergence, 1 for an isothermal halo. Amplitudes of the multipoles, ``m3`` and ``m4``,
    are in Einstein radii.
    """

    e1: Prior
    e2: Prior
    lens_x: Prior
    lens_y: Prior
    gamma1: Prior
    gamma2: Prior
    halo_mass: Prior | None = None
    theta_E: Prior | None = None
    slope: Prior = ONE
    m3: Prior = NOTHING
    m3_angle: Prior = NOTHING
    m4: Prior = NOTHING
    m4_angle: Prior = NOTHING

    def __post_init__(self) -> None:
        if (self.halo_mass is None) == (self.theta_E is None):
            raise InputError("a lens needs either halo_mass or theta_E")

    def draw(self, count: int, generator: Generator, geometry: Geometry) -> dict[str, Tensor]:
        """Parameters of ``count`` lenses, (count,) each."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        drawn = {name: prior.draw((count,), generator) for name, prior in named.items() if prior is not None}
        if "halo_mass" in drawn:
            drawn["theta_E"] = geometry.unit_einstein_radius * drawn["halo_mass"].sqrt()
        return drawn


MACROMODEL = ("theta_E", *(f.name for f in fields(Lens) if f.name not in ("halo_mass", "theta_E")))
"""Names of the parameters that the deflection of the macromodel depends on."""


@dataclass(frozen=True)
class Preset:
    """A simulated data set: priors of lens, substructure, source and instrument; class order; provenance.

    Attributes:
        populations: the substructure of each class; their order is the order of the labels.
        source: what is lensed.
        lens_light: components of the light of the lens itself, or one picture; places count from its centre.
        projected: whether the smooth part of the substructure's deflection is taken away (see ``projection.py``).
        lens_of: another halo for some classes, a fault of published data.
        aliases: other names of the classes, as public copies of the data have them.
        faults: what the published code does wrong and this preset reproduces.
        assumptions: what is not known of the published data.
    """

    name: str
    summary: str
    populations: Mapping[str, Population]
    geometry: Geometry
    lens: Lens
    source: Galaxy | Stamps
    instrument: Instrument
    lens_light: tuple[Galaxy | Stamps, ...] = ()
    projected: bool = False
    lens_of: Mapping[str, Lens] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    provenance: str = ""

    def __post_init__(self) -> None:
        if len(self.lens_light) > 1 and any(isinstance(light, Stamps) for light in self.lens_light):
            raise InputError(f"{self.name}: the light of a lens is either one picture or components, not both")

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.populations)

    @property
    def pixels(self) -> int:
        return self.instrument.pixels

    @property
    def pixel_scale(self) -> float:
        return self.instrument.pixel_scale

    @property
    def unit(self) -> str:
        return self.instrument.noise.unit

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """What may be regressed, by name: all of ``TARGETS`` that is drawn for some class, in that order.

        And, last, other numbers that a population gives each of its lenses; angles, which turn without end, are none.
        """
        known = {name for names in self._drawn.values() for name in names}
        return tuple(name for name in TARGETS if name in known) + tuple(sorted(known - TARGETS.keys()))

    def classes_with(self, target: str) -> tuple[str, ...]:
        """The classes of which a target is known; of a lens of another class it is not a number."""
        return tuple(name for name, names in self._drawn.items() if target in names)

    @cached_property
    def _drawn(self) -> dict[str, frozenset[str]]:
        """The targets of each class, as two lenses of it show them."""
        found = {}
        for index, (name, population) in enumerate(self.populations.items()):
            lens = self.draw_macromodel(torch.full((2,), index), Generator().manual_seed(0))
            own = population.draw(lens, Generator().manual_seed(0), self.geometry)
            numbers = {key for key, values in (lens | own).items() if values.ndim == 1}
            listed = {target for target in TARGETS if drawn_as(target) in numbers}
            tables = tuple(f"{kind}_" for kind in population.tables)
            others = {key for key in numbers & own.keys() if not key.startswith(tables) and not key.endswith("angle")}
            found[name] = frozenset(listed | others - {drawn_as(target) for target in TARGETS})
        return found

    def of_classes(self, names: Sequence[str]) -> Preset:
        """The preset with these classes alone, in its own order; for no names, with all. Their images are the same.

        Raises:
            InputError: a class that it has not.
        """
        for name in names:
            if name not in self.classes:
                raise InputError(f"unknown class {name!r} of preset {self.name}: {near(name, self.classes)}")
        if not names or set(names) == set(self.classes):
            return self
        kept = {name: population for name, population in self.populations.items() if name in names}
        aliases = {alias: name for alias, name in self.aliases.items() if name in kept}
        return replace(self, populations=kept, aliases=aliases)

    def mixed(self, names: Sequence[str], share: float) -> Preset:
        """The preset with these classes alone, among each of which stands a ``share`` of lenses of all its others.

        Raises:
            InputError: a class that it has not, no others, or a share that is none.
        """
        kept = self.of_classes(names)
        others = tuple(population for name, population in self.populations.items() if name not in kept.populations)
        populations = {name: Mixture(own, others, share) for name, own in kept.populations.items()}
        return replace(kept, populations=populations)

    def central(self, pixels: int | None) -> int:
        """The side of a central part of the images; raises ``InputError`` for one that is no part, or not central."""
        size = self.pixels if pixels is None else pixels
        if not 0 < size <= self.pixels or (self.pixels - size) % 2:
            raise InputError(
                f"{size} central pixels of preset {self.name}: expected at most {self.pixels}, and as "
                f"{'even' if self.pixels % 2 == 0 else 'odd'} as that"
            )
        return size

    def draw_macromodel(self, labels: Tensor, generator: Generator) -> dict[str, Tensor]:
        """Parameters of halo, shear and light, (B, ...) each; none depends on the class, but for ``lens_of``."""
        count = len(labels)
        drawn = self.lens.draw(count, generator, self.geometry)
        drawn |= self.source.draw("source", count, generator, self.instrument.zero_point)
        for index, name in enumerate(self.classes):
            if name in self.lens_of:
                own = self.lens_of[name].draw(count, generator, self.geometry)
                for key, values in own.items():
                    drawn[key] = torch.where(labels == index, values, drawn.get(key, torch.nan))
        lights = [g.draw("light", count, generator, self.instrument.zero_point) for g in self.lens_light]
        if lights:
            drawn |= {key: torch.stack([light[key] for light in lights], dim=1) for key in lights[0]}
            drawn["light_x"] = drawn["light_x"] + drawn["lens_x"][:, None]
            drawn["light_y"] = drawn["light_y"] + drawn["lens_y"][:, None]
        if "light_colour" in drawn:
            drawn["light_colour"] = drawn["light_colour"][:, 0]  # of all its components that of the first
        return drawn


def register(preset: Preset) -> Preset:
    """Enter a preset under its own name."""
    return PRESETS.register(preset.name)(preset)

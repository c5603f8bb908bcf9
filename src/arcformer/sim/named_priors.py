"""Where the prior of a parameter stands in a preset, by the name under which ``draw`` gives the parameter.

``f_sub`` is a field of the population of a class, ``source_x`` one of the source, ``axion_mass_eV`` follows from the
half-length of a vortex. ``log10_`` before a name means its logarithm, as in ``Preset.targets``.

>>> preset = PRESETS.get("corrected/model-1")
>>> prior_of(preset, "log10_axion_mass_eV").quantile(torch.tensor([0.0, 1.0]))
>>> simulate(held_at(preset, "f_sub", 0.05), labels=["cdm"] * 100, seed=0)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from arcformer.errors import InputError, near
from arcformer.sim.galaxies import Galaxy
from arcformer.sim.parameters import drawn_as, is_logarithm
from arcformer.sim.preset import Preset
from arcformer.sim.priors import Fixed, Log10, Power, Prior
from arcformer.sim.substructure import HALF_LENGTH, PointMassSubhalos, PublishedVortex, Vortex

__all__ = ["held_at", "prior_of", "typical"]

Law = tuple[str, float, float]
"""A field, a factor and an exponent: the parameter is the factor times that power of what the field draws."""

DRAWN: Mapping[type, Mapping[str, Law]] = {
    PointMassSubhalos: {},  # its masses and radii are those of single subhalos
    PublishedVortex: {
        "axion_mass_eV": ("axion_mass_eV", 1.0, 1.0),
        "vortex_half_length": ("axion_mass_eV", HALF_LENGTH, -1.0),
    },
    Vortex: {
        "vortex_mass": ("mass", 1.0, 1.0),
        "vortex_half_length": ("half_length", 1.0, 1.0),
        "axion_mass_eV": ("half_length", HALF_LENGTH, -1.0),
    },
}
"""What populations draw that call their parameters otherwise than their fields; others call them alike."""


@dataclass(frozen=True)
class _Place:
    """Where the prior of a parameter stands: a part of a preset, for a mapping the entry of a class, and a field."""

    part: str
    of_class: str | None
    law: Law
    classes: tuple[str, ...]

    def owner(self, preset: Preset) -> Any:
        part = getattr(preset, self.part)
        return part if self.of_class is None else part[self.of_class]

    def prior(self, preset: Preset) -> Prior:
        field, factor, exponent = self.law
        drawn = getattr(self.owner(preset), field)
        return drawn if factor == exponent == 1 else Power(drawn, factor, exponent)

    def held(self, preset: Preset, value: float) -> Preset:
        """The preset with the parameter at ``value``."""
        field, factor, exponent = self.law
        owner = replace(self.owner(preset), **{field: Fixed((value / factor) ** (1 / exponent))})
        part = owner if self.of_class is None else {**getattr(preset, self.part), self.of_class: owner}
        changed: dict[str, Any] = {self.part: part}
        return replace(preset, **changed)


def prior_of(preset: Preset, name: str) -> Prior:
    """The prior of a parameter, in the unit of the parameter.

    Raises:
        InputError: the preset draws no parameter of this name, does not vary it, or not alike for all classes.
    """
    bare = drawn_as(name)
    priors = {place.prior(preset) for place in _places(preset, bare)}
    if len(priors) > 1:
        raise InputError(f"{preset.name} has another prior of {bare} for some classes, so that there is none for all")
    (prior,) = priors
    half = torch.tensor([0.25, 0.75], dtype=torch.float64)
    if prior.quantile(half).unique().numel() == 1:
        raise InputError(f"{bare} is the same in all images of {preset.name}, {float(prior.quantile(half)[0]):g}")
    return Log10(prior) if is_logarithm(name) else prior


def held_at(preset: Preset, name: str, value: float) -> Preset:
    """The preset with a parameter at ``value``, for all who have it; ``InputError`` where the preset draws none."""
    bare = drawn_as(name)
    for place in _places(preset, bare):
        preset = place.held(preset, 10.0**value if is_logarithm(name) else float(value))
    return preset


def typical(preset: Preset) -> Preset:
    """The preset with lens, galaxies and exposure at the medians of their priors, without clumps and colours."""
    noise = _settled(preset.instrument.noise)
    return replace(
        preset,
        lens=_settled(preset.lens),
        lens_of={},
        source=_settled(preset.source),
        lens_light=tuple(map(_settled, preset.lens_light)),
        instrument=replace(preset.instrument, noise=noise),
    )


def _settled(owner: Any) -> Any:
    """A dataclass with the medians of its priors in their place."""
    if isinstance(owner, Galaxy):
        owner = replace(owner, clumps=None, colours=())
    half = torch.tensor(0.5, dtype=torch.float64)
    return replace(owner, **{field: Fixed(float(prior.quantile(half))) for field, prior in _priors(owner).items()})


def _places(preset: Preset, name: str) -> list[_Place]:
    places = list(_all(preset))
    found = [place for known, place in places if known == name]
    if not found:
        raise InputError(f"{preset.name} draws no {name!r}; {near(name, {known for known, _ in places})}")
    return found


def _all(preset: Preset) -> Iterator[tuple[str, _Place]]:
    """The places of all parameters, by name."""
    usual = tuple(name for name in preset.classes if name not in preset.lens_of)
    for name, classes in ((None, usual), *((name, (name,)) for name in preset.lens_of)):
        part = "lens" if name is None else "lens_of"
        for field in _priors(preset.lens if name is None else preset.lens_of[name]):
            yield field, _Place(part, name, (field, 1.0, 1.0), classes)
            if field == "halo_mass":
                yield "theta_E", _Place(part, name, (field, preset.geometry.unit_einstein_radius, 0.5), classes)
    for field in _priors(preset.source):
        yield f"source_{field}", _Place("source", None, (field, 1.0, 1.0), preset.classes)
    for name, population in preset.populations.items():
        laws = next((DRAWN[kind] for kind in DRAWN if isinstance(population, kind)), None)
        if laws is None:
            laws = {field: (field, 1.0, 1.0) for field in _priors(population)}
        for known, law in laws.items():
            yield known, _Place("populations", name, law, (name,))


def _priors(owner: Any) -> dict[str, Prior]:
    """The fields of a dataclass that are priors."""
    return {f.name: prior for f in fields(owner) if isinstance(prior := getattr(owner, f.name), Prior)}

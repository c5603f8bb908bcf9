"""Distances, and the Einstein radius of a mass: as it should be, and as the published benchmark has it.

Masses Msun, distances Mpc, angles arcsec.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

from arcformer.errors import InputError

__all__ = ["Geometry", "flat_universe"]


@lru_cache
def flat_universe(hubble: float, matter: float, baryons: float) -> Any:
    """A flat LambdaCDM universe of astropy: H0 in km/s/Mpc, matter and baryon densities today."""
    from astropy import cosmology

    universe: Any = cosmology.FlatLambdaCDM  # its stubs know neither its parameters nor its distances
    return universe(H0=hubble, Om0=matter, Ob0=baryons)


@dataclass(frozen=True)
class Geometry:
    """Redshifts, the universe between them, and how angles follow from masses.

    Attributes:
        z_lens, z_source: redshifts.
        distances: ``angular``, as they should be; ``published`` takes *luminosity* distances for the Einstein radius,
            and their difference for the distance between lens and source, as DeepLenseSim does. Both are wrong: 1.2815"
            come out for 1e12 Msun at z = 0.5 and 1.0, where 1.6645" are right.
        z_convention: the redshift of the source for which the Einstein radii are taken to be meant; None: ``z_source``.
        hubble, matter, baryons: of the universe.
        convention_universe: the same three of the universe in which ``z_convention`` is turned into deflections.
    """

    z_lens: float = 0.5
    z_source: float = 1.0
    distances: Literal["angular", "published"] = "angular"
    z_convention: float | None = None
    hubble: float = 70.0
    matter: float = 0.3
    baryons: float = 0.05
    convention_universe: tuple[float, float, float] = (69.7, 0.2814, 0.0464)

    def __post_init__(self) -> None:
        if not 0 < self.z_lens < self.z_source:
            raise InputError(f"z_lens {self.z_lens} and z_source {self.z_source}: expected 0 < z_lens < z_source")

    @property
    def universe(self) -> Any:
        """That of astropy."""
        return flat_universe(self.hubble, self.matter, self.baryons)

    @cached_property
    def unit_einstein_radius(self) -> float:
        """Einstein radius of 1 Msun, arcsec; it grows with the square root of the mass."""
        from astropy import constants as known
        from astropy import units

        constants: Any = known

        if self.distances == "published":
            d_l, d_s = (self.universe.luminosity_distance(z) for z in (self.z_lens, self.z_source))
            d_ls, radian = d_s - d_l, 206265.0  # their rounding of arcsec per radian
        else:
            d_l, d_s = (self.universe.angular_diameter_distance(z) for z in (self.z_lens, self.z_source))
            d_ls = d_s - d_l * (1 + self.z_lens) / (
                1 + self.z_source
            )  # comoving distances subtract: the universe is flat
            radian = 180 * 3600 / math.pi
        square = 4 * constants.G * constants.M_sun / constants.c**2 * d_ls / (d_l * d_s)
        return math.sqrt(square.to_value(units.one)) * radian

    @property
    def critical_surface_density(self) -> float:
        """Msun per arcsec^2: that of a disc which just fills its own Einstein radius."""
        return 1 / (math.pi * self.unit_einstein_radius**2)

    @cached_property
    def arcsec_per_mpc(self) -> float:
        """Of a length at the lens."""
        return 180 * 3600 / math.pi / self.universe.angular_diameter_distance(self.z_lens).to_value("Mpc")

    @cached_property
    def critical_density(self) -> float:
        """Of the universe at the lens, Msun / Mpc^3."""
        return self.universe.critical_density(self.z_lens).to_value("Msun / Mpc3")

    @cached_property
    def deflection_scaling(self) -> float:
        """What every deflection is multiplied with: D_ls / D_s for the source, over that of the convention."""
        if self.z_convention is None:
            return 1.0
        universe = flat_universe(*self.convention_universe)

        def reach(z: float) -> float:
            between, whole = universe.comoving_distance([self.z_lens, z]).value
            return 1 - between / whole

        return reach(self.z_source) / reach(self.z_convention)

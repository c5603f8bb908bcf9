"""Distances, and the Einstein radius of a mass: as it should be, and as the published benchmark has it.

Masses Msun, distances Mpc, angles arcsec.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

__all__ = ["deflection_scaling", "flat_universe", "published_einstein_radius"]


@lru_cache
def flat_universe(hubble: float, matter: float, baryons: float) -> Any:
    """A flat LambdaCDM universe of astropy: H0 in km/s/Mpc, matter and baryon densities today."""
    from astropy import cosmology

    universe: Any = cosmology.FlatLambdaCDM  # its stubs know neither its parameters nor its distances
    return universe(H0=hubble, Om0=matter, Ob0=baryons)


def published_einstein_radius(z_lens: float, z_source: float, universe: Any) -> float:
    """Einstein radius in arcsec of 1 Msun as DeepLenseSim computes it; it grows with the square root of the mass.

    The published code takes *luminosity* distances, and their difference for the distance between lens and source.
    Both are wrong (angular-diameter distances, and they do not subtract): 1.2815" come out for 1e12 Msun at
    z = 0.5 and 1.0, where 1.6645" are right.
    """
    from astropy import constants as known
    from astropy import units

    constants: Any = known

    d_l = universe.luminosity_distance(z_lens)
    d_s = universe.luminosity_distance(z_source)
    square = 4 * constants.G * constants.M_sun / constants.c**2 * (d_s - d_l) / (d_l * d_s)
    return math.sqrt(square.to_value(units.one)) * 206265  # their rounding of arcsec per radian


def deflection_scaling(z_lens: float, z_source: float, z_convention: float, universe: Any) -> float:
    """Ratio of a deflection for a source at ``z_source`` to that for one at ``z_convention``: D_ls / D_s of each."""

    def reach(z: float) -> float:
        between, whole = universe.comoving_distance([z_lens, z]).value
        return 1 - between / whole

    return reach(z_source) / reach(z_convention)

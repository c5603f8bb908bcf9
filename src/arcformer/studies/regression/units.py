"""The units of targets, as their names tell them."""
# To be replaced by the table of the simulator's parameters.

from __future__ import annotations

__all__ = ["unit_of"]

UNITS = {
    "_eV": "eV",
    "mass": "Msun",
    "theta_E": "arcsec",
    "_x": "arcsec",
    "_y": "arcsec",
    "_size": "arcsec",
    "_length": "arcsec",
}


def unit_of(name: str) -> str:
    """The unit of errors of a target; ``dex`` of a logarithm; empty where there is none."""
    if name.startswith("log10_"):
        return "dex"
    return next((unit for end, unit in UNITS.items() if name.endswith(end)), "")

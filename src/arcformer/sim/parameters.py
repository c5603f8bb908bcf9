"""What may be asked of a lens: the regression targets, in one order for all presets, and their units.

A target bears the name under which ``sim`` draws the parameter. Where ``log10_`` stands before it, it is the logarithm,
of a parameter that spans decades. What a preset draws of these is its ``targets``, constants among them: a task says
which of them it learns, and that one of them never varies.

Left out are angles that turn without end, amplitudes whose sign such an angle can swap (multipoles), what an observer
knows (exposure, PSF), and the light of the lens, which may have several components.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

__all__ = ["SMOOTH_LENS", "SUBSTRUCTURE", "TARGETS", "drawn_as", "is_logarithm", "target", "unit_of"]

SMOOTH_LENS = {
    "theta_E": "Einstein radius of the halo",
    "slope": "of the convergence of the halo, 1 for an isothermal one",
    "e1": "ellipticity of the halo, (1 - q) / (1 + q) cos 2 phi",
    "e2": "the same with sin 2 phi",
    "gamma1": "external shear, along the axes",
    "gamma2": "external shear, along the diagonals",
    "lens_x": "centre of the halo, along x",
    "lens_y": "centre of the halo, along y",
    "source_x": "centre of the source, unlensed, along x",
    "source_y": "centre of the source, unlensed, along y",
    "log10_source_size": "half-light radius of the source, arcsec",
    "source_index": "Sersic index of the source",
    "source_e1": "ellipticity of the source, as e1",
    "source_e2": "ellipticity of the source, as e2",
    "log10_source_amplitude": "brightness of the source at its half-light radius, per s and square arcsec",
}
"""Of macromodel and source, of every class."""

SUBSTRUCTURE = {
    "f_sub": "share of dark matter in subhalos",
    "log10_f_sub": "the same",
    "log10_half_mode_mass": "half-mode mass of warm dark matter, Msun",
    "log10_axion_mass_eV": "mass of the axion",
    "log10_vortex_mass": "mass of the vortex, Msun",
    "vortex_half_length": "half the length of the vortex, which is a function of the mass of the axion",
    "vortex_x": "middle of the vortex, along x",
    "vortex_y": "middle of the vortex, along y",
}
"""Of some classes; of a lens of another class it is not a number."""

TARGETS = (
    SMOOTH_LENS
    | {
        "source_magnitude": "of the whole source, without clumps",
        "log10_halo_mass": "mass of the halo, Msun, of which theta_E is a function",
    }
    | SUBSTRUCTURE
)
"""All that the library's presets draw and that may be regressed, and what each is."""

LOGARITHM = "log10_"

UNITS = {
    "_eV": "eV",
    "mass": "Msun",
    "theta_E": "arcsec",
    "_x": "arcsec",
    "_y": "arcsec",
    "_size": "arcsec",
    "_length": "arcsec",
    "angle": "rad",
    "magnitude": "mag",
    "exposure": "s",
}
"""Units of drawn parameters by the end of their names; others have none."""


def unit_of(name: str) -> str:
    """The unit of a parameter or a target, and of its errors: ``dex`` of a logarithm, empty where it has none."""
    if is_logarithm(name):
        return "dex"
    return next((unit for end, unit in UNITS.items() if name.endswith(end)), "")


def is_logarithm(name: str) -> bool:
    """Whether a target is the logarithm, to the base of 10, of the parameter that ``drawn_as`` names."""
    return name.startswith(LOGARITHM)


def drawn_as(name: str) -> str:
    """The name of the parameter that a target is, or is the logarithm of."""
    return name.removeprefix(LOGARITHM)


def target(name: str, parameters: Mapping[str, Tensor]) -> Tensor:
    """The values (B,) of a target, float64, of parameters as ``sim`` draws them."""
    column = parameters[name if name in parameters else drawn_as(name)].double()
    return column if name in parameters else column.log10()

"""Presets: everything that defines a simulated data set, as a frozen dataclass of priors, with its provenance.

``deeplense/model-1``, ``-2`` and ``-3`` reproduce the published DeepLense benchmark as its code computes it
(DeepLenseSim, commit a0c0191, on lenstronomy 1.9.2), faults included: they are for comparison with published numbers,
not for science. Each preset lists its faults, and what had to be assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

from torch import Generator, Tensor

from arcformer.errors import InputError
from arcformer.registry import Registry
from arcformer.sim.cosmology import deflection_scaling, flat_universe, published_einstein_radius
from arcformer.sim.instrument import DoublePoissonCounts, GaussianPSF, Instrument, TwiceTheModel
from arcformer.sim.light import sersic_flux
from arcformer.sim.priors import Fixed, LogUniform, PowerLaw, Prior, Uniform
from arcformer.sim.substructure import NoSubstructure, PointMassSubhalos, Population, PublishedVortex

__all__ = ["PRESETS", "Geometry", "Macromodel", "Preset", "SersicSource"]

PRESETS: Registry[Preset] = Registry("preset")


@dataclass(frozen=True)
class Geometry:
    """Redshifts, the universe between them, and the redshift for which the Einstein radii are meant."""

    z_lens: float = 0.5
    z_source: float = 1.0
    z_convention: float | None = None
    hubble: float = 70.0
    matter: float = 0.3
    baryons: float = 0.05
    convention_universe: tuple[float, float, float] = (69.7, 0.2814, 0.0464)

    def __post_init__(self) -> None:
        if not 0 < self.z_lens < self.z_source:
            raise InputError(f"z_lens {self.z_lens} and z_source {self.z_source}: expected 0 < z_lens < z_source")

    @cached_property
    def unit_einstein_radius(self) -> float:
        """Einstein radius of 1 Msun, arcsec."""
        return published_einstein_radius(
            self.z_lens, self.z_source, flat_universe(self.hubble, self.matter, self.baryons)
        )

    @cached_property
    def deflection_scaling(self) -> float:
        """What every deflection is multiplied with: 1 where the Einstein radii are meant for ``z_source``."""
        if self.z_convention is None:
            return 1.0
        universe = flat_universe(*self.convention_universe)
        return deflection_scaling(self.z_lens, self.z_source, self.z_convention, universe)


@dataclass(frozen=True)
class Macromodel:
    """Priors of the halo, a singular isothermal ellipsoid of a mass in Msun, and of the shear."""

    halo_mass: Prior
    e1: Prior
    e2: Prior
    lens_x: Prior
    lens_y: Prior
    gamma1: Prior
    gamma2: Prior


@dataclass(frozen=True)
class SersicSource:
    """Priors of the source. Its brightness is given as ``amplitude``, at the half-light radius, or as ``magnitude``."""

    source_x: Prior
    source_y: Prior
    source_size: Prior
    source_index: Prior
    source_e1: Prior
    source_e2: Prior
    source_amplitude: Prior | None = None
    source_magnitude: Prior | None = None

    def __post_init__(self) -> None:
        if (self.source_amplitude is None) == (self.source_magnitude is None):
            raise InputError("a source needs either source_amplitude or source_magnitude")


@dataclass(frozen=True)
class Preset:
    """A simulated data set: priors of lens, substructure, source and instrument; class order; provenance.

    Attributes:
        populations: the substructure of each class; their order is the order of the labels.
        targets: names of parameters that are kept as regression targets.
        aliases: other names of the classes, as public copies of the data have them.
        faults: what the published code does wrong and this preset reproduces.
        assumptions: what is not known of the published data.
    """

    name: str
    summary: str
    populations: Mapping[str, Population]
    geometry: Geometry
    lens: Macromodel
    source: SersicSource
    instrument: Instrument
    targets: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    provenance: str = ""

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

    def draw_macromodel(self, count: int, generator: Generator) -> dict[str, Tensor]:
        """Parameters of halo, shear and source of ``count`` lenses, (count,) each; none depends on the class."""
        drawn = _draw_all(self.lens, count, generator) | _draw_all(self.source, count, generator)
        drawn["theta_E"] = self.geometry.unit_einstein_radius * drawn["halo_mass"].sqrt()
        if "source_magnitude" in drawn:
            if self.instrument.zero_point is None:
                raise InputError(f"preset {self.name}: a magnitude needs an instrument with a zero point")
            flux = 10 ** (-0.4 * (drawn["source_magnitude"] - self.instrument.zero_point))
            drawn["source_amplitude"] = flux / sersic_flux(drawn["source_size"], drawn["source_index"])
        return drawn


def _draw_all(priors: Macromodel | SersicSource, count: int, generator: Generator) -> dict[str, Tensor]:
    named = {f.name: getattr(priors, f.name) for f in fields(priors)}
    return {name: prior.draw((count,), generator) for name, prior in named.items() if prior is not None}


def _register(preset: Preset) -> Preset:
    return PRESETS.register(preset.name)(preset)


_MODEL_1 = _register(
    Preset(
        name="deeplense/model-1",
        summary="DeepLense Model I: 150 x 150 pixels of 0.05 arcsec, photon counts, noisy",
        populations={
            "no_sub": NoSubstructure(),
            "cdm": PointMassSubhalos(size=25, mass=PowerLaw(-0.9, 1e6, 1e10), radius=Uniform(0.25, 2.0)),
            "axion": PublishedVortex(size=100, mass=3e10, axion_mass_eV=LogUniform(1e-24, 1e-22)),
        },
        geometry=Geometry(),
        lens=Macromodel(
            halo_mass=Fixed(1e12),
            e1=Fixed(0.1),
            e2=Fixed(0.0),
            lens_x=Fixed(0.0),
            lens_y=Fixed(0.0),
            gamma1=Fixed(0.05),
            gamma2=Fixed(0.0),
        ),
        source=SersicSource(
            source_x=Uniform(-0.35, 0.35),
            source_y=Uniform(-0.35, 0.35),
            source_size=Fixed(0.25),
            source_index=Fixed(1.0),
            source_e1=Fixed(-0.1),
            source_e2=Fixed(0.1),
            source_amplitude=Fixed(20.0),
        ),
        instrument=Instrument(
            pixels=150,
            pixel_scale=0.05,
            psf=GaussianPSF(fwhm=0.087, truncation=3.0),
            noise=DoublePoissonCounts(exposure=LogUniform(10**3, 10**3.5), background_rms=0.01),
        ),
        targets=("log10_axion_mass_eV",),
        aliases={"no": "no_sub", "sphere": "cdm", "sub": "cdm", "vort": "axion", "vortex": "axion"},
        faults=(
            "Einstein radii come from luminosity distances and their difference: 1.2815 arcsec, not 1.6645",
            "the macromodel never varies, and of the source only its position",
            "subhalo masses follow p(m) ~ m^-0.9, not the documented m^-1.9: about 110 times too much mass",
            "there are always 25 subhalos: the Poisson number is drawn and not used",
            "the vortex passes through the centre, where there is no light: only its quadrupole is seen at the ring",
            "the substructure's mass is added to the halo, so that radius and flux of the ring give the class away",
            "photon noise is applied twice, and the sky is clipped at zero before the second time",
        ),
        provenance="DeepLenseSim a0c0191 (Toomey et al.) on lenstronomy 1.9.2",
    )
)

_NOISE_FREE_FAULTS = (
    *_MODEL_1.faults[:-1],
    "Einstein radii meant for a source at z = 1 are taken for one at z = 2.5: deflections shrink by 0.634",
    "noise is computed and dropped: twice the noise-free image is written",
)

_MODEL_2 = _register(
    replace(
        _MODEL_1,
        name="deeplense/model-2",
        summary="DeepLense Model II: 64 x 64 pixels of 0.101 arcsec, Euclid VIS, noise-free",
        geometry=Geometry(z_convention=2.5),
        source=replace(_MODEL_1.source, source_amplitude=None, source_magnitude=Fixed(20.0)),
        instrument=Instrument(
            pixels=64,
            pixel_scale=0.101,
            psf=GaussianPSF(fwhm=0.16, truncation=5.0),
            noise=TwiceTheModel(),
            zero_point=24.0,
        ),
        faults=_NOISE_FREE_FAULTS,
    )
)

_register(
    replace(
        _MODEL_2,
        name="deeplense/model-3",
        summary="DeepLense Model III: 64 x 64 pixels of 0.08 arcsec, HST, noise-free",
        instrument=Instrument(
            pixels=64,
            pixel_scale=0.08,
            psf=GaussianPSF(fwhm=0.08, truncation=5.0),
            noise=TwiceTheModel(),
            zero_point=25.96,
        ),
        assumptions=(
            "the committed script names an instrument that its code does not know and cannot run; the published images"
            " are taken to be Model II's with lenstronomy's WFC3 F160W: 0.08 arcsec per pixel, FWHM 0.08,"
            " zero point 25.96",
        ),
    )
)

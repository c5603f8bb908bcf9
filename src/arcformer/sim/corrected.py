"""``corrected/*``: DeepLense's models for science.

Right distances; a macromodel and a source that vary; noise everywhere, once, and nothing clipped; substructure whose
smooth part, which a macromodel could absorb, is taken away, so that radius, flux and centroid carry no class. One
drawing path for all classes.
"""

from __future__ import annotations

import math
from dataclasses import replace

from arcformer.sim.cosmology import Geometry
from arcformer.sim.galaxies import Clumps, Galaxy
from arcformer.sim.instrument import GaussianPSF, Instrument, PhotonNoise, sky_background
from arcformer.sim.preset import Lens, Preset, register
from arcformer.sim.priors import Fixed, LogUniform, Normal, Uniform
from arcformer.sim.substructure import NoSubstructure, Subhalos, Vortex, WarmSubhalos

__all__: list[str] = []

_ASSUMPTIONS = (
    "nothing in a source is sharper than a tenth of its half-light radius: sampled at its centre, no pixel shows a "
    "cusp as a detector does, and how bright that comes out tells how its image was moved",
    "bound mass is taken for M200 in the mass-concentration relation of Dutton & Maccio (2014), continued to 1e8 Msun",
    "every subhalo is truncated at five scale radii",
    "subhalos lie uniformly within 3 arcsec; halos along the line of sight are left out",
    "a vortex is a massive line, the convention of this benchmark: those of an ultra-light field are under-dense",
)

_CORRECTED_1 = register(
    Preset(
        name="corrected/model-1",
        summary="Model I for science: right distances, varied lens and source, noise once, no class in flux or radius",
        populations={
            "no_sub": NoSubstructure(),
            "cdm": Subhalos(f_sub=LogUniform(0.01, 0.2)),
            "axion": Vortex(mass=LogUniform(1e9, 1e10), half_length=LogUniform(0.1, 1.5), distance=Uniform(0.8, 1.2)),
        },
        geometry=Geometry(),
        lens=Lens(
            halo_mass=LogUniform(0.7e12, 1.2e12),
            slope=Normal(1.05, 0.1),
            e1=Normal(0.0, 0.1),
            e2=Normal(0.0, 0.1),
            lens_x=Normal(0.0, 0.05),
            lens_y=Normal(0.0, 0.05),
            gamma1=Normal(0.0, 0.05),
            gamma2=Normal(0.0, 0.05),
            m3=Normal(0.0, 0.01),
            m3_angle=Uniform(0.0, 2 * math.pi),
            m4=Normal(0.0, 0.01),
            m4_angle=Uniform(0.0, 2 * math.pi),
        ),
        source=Galaxy(
            x=Uniform(-0.35, 0.35),
            y=Uniform(-0.35, 0.35),
            size=LogUniform(0.15, 0.4),
            index=Uniform(0.7, 3.0),
            e1=Normal(0.0, 0.15),
            e2=Normal(0.0, 0.15),
            amplitude=LogUniform(10, 40),
            core=0.1,
            clumps=Clumps(number=4, share=LogUniform(0.005, 0.05), size=LogUniform(0.1, 0.3), spread=Uniform(0.0, 1.5)),
        ),
        instrument=Instrument(
            pixels=150,
            pixel_scale=0.05,
            psf=GaussianPSF(fwhm=0.087, truncation=3.0),
            noise=PhotonNoise(exposure=LogUniform(10**3, 10**3.5), background_rms=0.01),
        ),
        projected=True,
        aliases={"no": "no_sub", "sphere": "cdm", "sub": "cdm", "vort": "axion", "vortex": "axion"},
        assumptions=_ASSUMPTIONS,
        provenance="this library; numbers of the instrument as DeepLense Model I",
    )
)


_DEEP = replace(_CORRECTED_1.instrument, noise=PhotonNoise(exposure=LogUniform(1e4, 10**4.5), background_rms=0.003))

register(
    replace(
        _CORRECTED_1,
        name="corrected/model-1-deep",
        summary="corrected/model-1 with ten times the exposure: noise at which a percent of substructure can be seen",
        populations={**_CORRECTED_1.populations, "cdm": Subhalos(f_sub=LogUniform(0.003, 0.1))},
        instrument=_DEEP,
    )
)

register(
    replace(
        _CORRECTED_1,
        name="corrected/warm",
        summary="corrected/model-1-deep with warm dark matter, of a half-mode mass of 1e7 to 1e10 Msun, for vortices",
        populations={
            "no_sub": NoSubstructure(),
            "cdm": Subhalos(f_sub=LogUniform(0.01, 0.2)),
            "wdm": WarmSubhalos(f_sub=LogUniform(0.01, 0.2), half_mode_mass=LogUniform(1e7, 1e10)),
        },
        instrument=_DEEP,
        aliases={"no": "no_sub", "sphere": "cdm", "sub": "cdm", "warm": "wdm"},
        assumptions=(*_ASSUMPTIONS[:-1], "f_sub of warm dark matter is that of the cold population before suppression"),
    )
)

_SOURCE = replace(_CORRECTED_1.source, amplitude=None, magnitude=Uniform(20.0, 22.5))

_EUCLID = Instrument(
    pixels=64,
    pixel_scale=0.101,
    psf=GaussianPSF(fwhm=0.16, truncation=5.0),
    noise=PhotonNoise(
        exposure=Fixed(4 * 565.0),
        background_rms=sky_background(
            exposure=565.0, exposures=4, read_noise=4.2, sky_magnitude=22.35, zero_point=24.0, pixel_scale=0.101
        ),
        per_second=True,
    ),
    zero_point=24.0,
)

_CORRECTED_2 = register(
    replace(
        _CORRECTED_1,
        name="corrected/model-2",
        summary="Model II for science: Euclid VIS with its noise, sources of magnitude 20 to 22.5",
        source=_SOURCE,
        instrument=_EUCLID,
        provenance="this library; numbers of the instrument as lenstronomy 1.9.2 had them, as DeepLense Model II",
    )
)

register(
    replace(
        _CORRECTED_2,
        name="corrected/model-3",
        summary="Model III for science: HST WFC3 F160W with its noise, sources of magnitude 22.5 to 24",
        source=replace(_SOURCE, magnitude=Uniform(22.5, 24.0)),
        instrument=Instrument(
            pixels=64,
            pixel_scale=0.08,
            psf=GaussianPSF(fwhm=0.08, truncation=5.0),
            noise=PhotonNoise(
                exposure=Fixed(5400.0),
                background_rms=sky_background(
                    exposure=5400.0, exposures=1, read_noise=4.0, sky_magnitude=22.3, zero_point=25.96, pixel_scale=0.08
                ),
                per_second=True,
            ),
            zero_point=25.96,
        ),
        provenance="this library; numbers of the instrument as lenstronomy's HST WFC3 F160W",
    )
)

register(
    replace(
        _CORRECTED_2,
        name="corrected/model-4",
        summary="Model IV for science: three bands, clumpy spirals as sources, lens light, Euclid's noise in each band",
        source=replace(
            _SOURCE,
            clumps=Clumps(
                number=8, share=LogUniform(0.01, 0.1), size=LogUniform(0.1, 0.3), spread=Uniform(0.0, 2.0), arms=2
            ),
            colours=(Normal(-0.3, 0.15), Normal(-0.6, 0.3)),
        ),
        lens_light=(
            Galaxy(
                x=Normal(0.0, 0.02),
                y=Normal(0.0, 0.02),
                size=LogUniform(0.5, 1.2),
                index=Uniform(3.0, 5.0),
                e1=Normal(0.0, 0.1),
                e2=Normal(0.0, 0.1),
                magnitude=Uniform(19.0, 21.0),
                colours=(Normal(-0.8, 0.1), Normal(-1.4, 0.2)),
            ),
        ),
        assumptions=(*_ASSUMPTIONS, "the three bands share the PSF, the depth and the zero point of VIS"),
    )
)

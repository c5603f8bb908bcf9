"""``survey/*``: population priors for telescope images. Numbers of the instruments are lenstronomy's (1.14) observation
configurations; a test holds them together.
"""

from __future__ import annotations

import math
from dataclasses import replace

from arcformer.sim.cosmology import Geometry
from arcformer.sim.galaxies import Clumps, Galaxy
from arcformer.sim.instrument import GaussianPSF, Instrument, PhotonNoise, sky_background
from arcformer.sim.preset import Lens, Preset, register
from arcformer.sim.priors import Fixed, LogUniform, Normal, Prior, Uniform
from arcformer.sim.substructure import NoSubstructure, Subhalos, Vortex

__all__: list[str] = []


def _instrument(
    pixels: int,
    pixel_scale: float,
    fwhm: float,
    zero_point: float,
    *,
    exposure: float,
    exposures: int,
    read_noise: float,
    sky_magnitude: float,
    drawn: Prior | None = None,
) -> Instrument:
    """An instrument as lenstronomy has it; ``drawn`` are exposures of another length, s in all."""
    background = sky_background(
        exposure=exposure,
        exposures=exposures,
        read_noise=read_noise,
        sky_magnitude=sky_magnitude,
        zero_point=zero_point,
        pixel_scale=pixel_scale,
    )
    time = exposure * exposures
    noise = PhotonNoise(drawn or Fixed(time), background, per_second=True, background_at=time if drawn else None)
    return Instrument(pixels, pixel_scale, GaussianPSF(fwhm, truncation=5.0), noise, zero_point)


_LENS_GALAXY = Galaxy(
    x=Normal(0.0, 0.02),
    y=Normal(0.0, 0.02),
    size=LogUniform(0.5, 2.0),
    index=Uniform(2.5, 5.0),
    e1=Normal(0.0, 0.1),
    e2=Normal(0.0, 0.1),
    magnitude=Uniform(18.0, 21.0),
)

_HST = register(
    Preset(
        name="survey/hst",
        summary="lenses as Hubble sees them in WFC3 F160W: 80 x 80 pixels of 0.08 arcsec, with lens light",
        populations={
            "no_sub": NoSubstructure(),
            "cdm": Subhalos(f_sub=LogUniform(0.003, 0.1)),
            "axion": Vortex(mass=LogUniform(1e9, 1e10), half_length=LogUniform(0.1, 1.5), distance=Uniform(0.8, 1.2)),
        },
        geometry=Geometry(z_lens=0.4, z_source=1.5),
        lens=Lens(
            theta_E=Uniform(0.5, 2.0),
            slope=Normal(1.05, 0.15),
            e1=Normal(0.0, 0.12),
            e2=Normal(0.0, 0.12),
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
            x=Normal(0.0, 0.2),
            y=Normal(0.0, 0.2),
            size=LogUniform(0.1, 0.5),
            index=Uniform(0.7, 3.0),
            e1=Normal(0.0, 0.15),
            e2=Normal(0.0, 0.15),
            magnitude=Uniform(22.0, 25.0),
            clumps=Clumps(number=6, share=LogUniform(0.005, 0.08), size=LogUniform(0.1, 0.3), spread=Uniform(0.0, 1.8)),
        ),
        lens_light=(replace(_LENS_GALAXY, magnitude=Uniform(16.5, 21.0)),),
        instrument=_instrument(
            80,
            0.08,
            0.08,
            25.96,
            exposure=5400.0,
            exposures=1,
            read_noise=4.0,
            sky_magnitude=22.3,
            drawn=LogUniform(300.0, 6000.0),
        ),
        projected=True,
        assumptions=(
            "priors are broad, not those of a survey's selection: no lens is left out for being faint",
            "substructure as in corrected/*; halos along the line of sight are left out",
            "exposures of 300 to 6000 s, the noise of the sky accordingly, and lens galaxies of magnitude 16.5 to 21, "
            "so that images of SLACS lenses in F814W, on these pixels, lie among those of the preset",
        ),
        provenance="this library; WFC3 F160W as lenstronomy 1.14 has it, but for shorter exposures",
    )
)

_OTHERS = replace(_HST, lens_light=(_LENS_GALAXY,), assumptions=_HST.assumptions[:-1])

register(
    replace(
        _OTHERS,
        name="survey/euclid-vis",
        summary="lenses as Euclid sees them in VIS: 64 x 64 pixels of 0.101 arcsec, with lens light",
        instrument=_instrument(64, 0.101, 0.16, 25.72, exposure=566.0, exposures=4, read_noise=4.2, sky_magnitude=22.3),
        provenance="this library; VIS as lenstronomy 1.14 has it",
    )
)

register(
    replace(
        _OTHERS,
        name="survey/jwst",
        summary="lenses as Webb sees them in NIRCam F200W: 200 x 200 pixels of 0.031 arcsec, with lens light",
        instrument=_instrument(
            200, 0.031, 0.066, 28.0, exposure=3600.0, exposures=1, read_noise=15.77, sky_magnitude=29.52
        ),
        assumptions=(
            *_OTHERS.assumptions,
            "lenstronomy gives no PSF: a Gaussian of 0.066 arcsec stands in, or a FITS file",
        ),
        provenance="this library; NIRCam F200W as lenstronomy 1.14 has it",
    )
)

register(
    replace(
        _OTHERS,
        name="survey/lsst",
        summary="lenses as Rubin sees them in i after ten years: 40 x 40 pixels of 0.2 arcsec, with lens light",
        instrument=_instrument(
            40, 0.2, 0.71, 27.79, exposure=15.0, exposures=460, read_noise=10.0, sky_magnitude=20.48
        ),
        provenance="this library; LSST i as lenstronomy 1.14 has it",
    )
)

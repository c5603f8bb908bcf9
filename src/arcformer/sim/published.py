"""``deeplense/*``: the published DeepLense benchmark as its code computes it, faults included.

DeepLenseSim, commit a0c0191, on lenstronomy 1.9.2. They are for comparison with published numbers, not for science.
Each preset lists its faults, and what had to be assumed.
"""

from __future__ import annotations

from dataclasses import replace

from arcformer.sim.cosmology import Geometry
from arcformer.sim.galaxies import Clumps, Galaxy
from arcformer.sim.instrument import DoublePoissonCounts, GaussianPSF, Instrument, TwiceTheModel
from arcformer.sim.preset import Lens, Preset, register
from arcformer.sim.priors import Fixed, LogUniform, Normal, PowerLaw, Uniform
from arcformer.sim.substructure import NoSubstructure, PointMassSubhalos, PublishedVortex

__all__: list[str] = []

_MODEL_1 = register(
    Preset(
        name="deeplense/model-1",
        summary="DeepLense Model I: 150 x 150 pixels of 0.05 arcsec, photon counts, noisy",
        populations={
            "no_sub": NoSubstructure(),
            "cdm": PointMassSubhalos(size=25, mass=PowerLaw(-0.9, 1e6, 1e10), radius=Uniform(0.25, 2.0)),
            "axion": PublishedVortex(size=100, mass=3e10, axion_mass_eV=LogUniform(1e-24, 1e-22)),
        },
        geometry=Geometry(distances="published"),
        lens=Lens(
            halo_mass=Fixed(1e12),
            e1=Fixed(0.1),
            e2=Fixed(0.0),
            lens_x=Fixed(0.0),
            lens_y=Fixed(0.0),
            gamma1=Fixed(0.05),
            gamma2=Fixed(0.0),
        ),
        source=Galaxy(
            x=Uniform(-0.35, 0.35),
            y=Uniform(-0.35, 0.35),
            size=Fixed(0.25),
            index=Fixed(1.0),
            e1=Fixed(-0.1),
            e2=Fixed(0.1),
            amplitude=Fixed(20.0),
        ),
        instrument=Instrument(
            pixels=150,
            pixel_scale=0.05,
            psf=GaussianPSF(fwhm=0.087, truncation=3.0),
            noise=DoublePoissonCounts(exposure=LogUniform(10**3, 10**3.5), background_rms=0.01),
        ),
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

_MODEL_2 = register(
    replace(
        _MODEL_1,
        name="deeplense/model-2",
        summary="DeepLense Model II: 64 x 64 pixels of 0.101 arcsec, Euclid VIS, noise-free",
        geometry=Geometry(distances="published", z_convention=2.5),
        source=replace(_MODEL_1.source, amplitude=None, magnitude=Fixed(20.0)),
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

register(
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


_LENS_4 = replace(_MODEL_1.lens, halo_mass=None, theta_E=Fixed(1.5))

register(
    replace(
        _MODEL_2,
        name="deeplense/model-4",
        summary="DeepLense Model IV: three bands of 64 x 64 pixels, Euclid VIS, real galaxies as sources, lens light",
        populations={**_MODEL_2.populations, "axion": PublishedVortex(size=100, mass=3e10, axion_mass_eV=Fixed(1e-21))},
        lens=_LENS_4,
        lens_of={"no_sub": replace(_LENS_4, gamma1=Fixed(0.0))},
        source=Galaxy(
            x=Uniform(-0.35, 0.35),
            y=Uniform(-0.35, 0.35),
            size=Uniform(0.2, 0.5),
            index=Uniform(0.7, 2.0),
            e1=Normal(0.0, 0.15),
            e2=Normal(0.0, 0.15),
            magnitude=Fixed(20.0),
            clumps=Clumps(
                number=8, share=LogUniform(0.01, 0.1), size=LogUniform(0.05, 0.2), spread=Uniform(0.0, 2.0), arms=2
            ),
        ),
        lens_light=(
            Galaxy(
                x=Fixed(0.0), y=Fixed(0.0), size=Fixed(0.3), index=Fixed(4.0), e1=Fixed(0.1), e2=Fixed(0.0),
                magnitude=Fixed(20.0),
            ),
            Galaxy(
                x=Fixed(0.0), y=Fixed(0.0), size=Fixed(1.0), index=Fixed(1.0), e1=Fixed(0.1), e2=Fixed(0.0),
                magnitude=Fixed(20.5),
            ),
        ),
        instrument=replace(_MODEL_2.instrument, copies=3),
        faults=(
            *_NOISE_FREE_FAULTS,
            "the macromodel differs by class: no_sub has no shear",
            "the axion's mass is always 1e-21 eV, a vortex of 0.003 arcsec: a point mass in the centre",
            "the three bands are one band three times",
        ),
        assumptions=(
            "the 47 galaxies that were its sources are not to be had: procedural ones with clumps along two arms stand"
            " in",
            "sizes, shapes and magnitudes of the lens light are not stated: a bulge and a disc of usual ones are taken",
            "published copies are scaled to [0, 1] image by image; here they are in e-/s",
        ),
    )
)  # fmt: skip

register(
    replace(
        _MODEL_1,
        name="deeplense/binary",
        summary="the two classes of the `lenses` files, no_sub and sub, as Model I: 150 x 150 pixels, photon counts",
        populations={"no_sub": _MODEL_1.populations["no_sub"], "sub": _MODEL_1.populations["cdm"]},
        aliases={"no": "no_sub", "cdm": "sub", "sphere": "sub"},
        assumptions=(
            "the code behind these files is not public: lens, source, substructure and noise are Model I's",
            "published files hold grey levels; here they are counts",
        ),
    )
)

register(
    replace(
        _MODEL_1,
        name="deeplense/halo-mass",
        summary="the regression of the `lens_data` files: the mass of the halo, 150 x 150 pixels, photon counts",
        populations={"no_sub": _MODEL_1.populations["no_sub"]},
        lens=replace(_MODEL_1.lens, halo_mass=LogUniform(3e11, 3e12)),
        aliases={},
        assumptions=(
            "the code behind these files is not public: source and noise are Model I's, and masses range from 3e11 to"
            " 3e12 Msun, so that the ring stays within the image",
        ),
    )
)

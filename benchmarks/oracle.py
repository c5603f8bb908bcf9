"""Lenses by lenstronomy: the oracle of the tests and the peer of the benchmarks.

Those of DeepLense are written from what DeepLenseSim does (commit a0c0191), those of corrected/* and survey/* from what
their documentation says, with lenstronomy's own classes and astropy's distances. From arcformer it takes nothing but
the numbers that were drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

import numpy as np
from astropy import constants, units
from astropy.cosmology import FlatLambdaCDM
from lenstronomy.Data.imaging_data import ImageData
from lenstronomy.Data.psf import PSF
from lenstronomy.ImSim.image_model import ImageModel
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LightModel.light_model import LightModel
from lenstronomy.Util import data_util, image_util, util
from numpy.typing import NDArray

__all__ = ["ORACLES", "SCIENCE", "Keywords", "Oracle", "rows"]

Z_LENS, Z_SOURCE = 0.5, 1.0
BACKGROUND_RMS = 0.01
EXPOSURE = 1000.0  # an image model wants one, the noise-free image does not depend on it
PYHALO_UNIVERSE = FlatLambdaCDM(H0=69.7, Om0=0.2814, Ob0=0.0464)  # DeepLenseSim hands it on to lenstronomy


@dataclass(frozen=True)
class Keywords:
    """What lenstronomy takes of one lens: the names of its profiles, their parameters, and those of the light."""

    profiles: list[str]
    lens: list[dict[str, float]]
    source: list[dict[str, float]]
    light: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Oracle:
    """The instrument of a preset as lenstronomy names its parts, and images of lenses through it.

    Attributes:
        num_pix, delta_pix: pixels per side, and their size in arcsec.
        fwhm, truncation: of the Gaussian PSF, in arcsec and sigma.
        zero_point: magnitude of one count per second; None where the source has an amplitude.
        z_source_convention: redshift of the source for which the Einstein radii are taken to be meant.
        empirical_psf: an image of the PSF, which takes the place of the Gaussian.
        profile: of all components of the light.
    """

    num_pix: int
    delta_pix: float
    fwhm: float
    truncation: float
    zero_point: float | None = None
    z_source_convention: float | None = None
    empirical_psf: NDArray[np.float64] | None = None
    profile: ClassVar[str] = "SERSIC_ELLIPSE"

    def keywords(self, drawn: Mapping[str, Any]) -> Keywords:
        """Of a lens with drawn parameters: numbers, and arrays of deflectors and of components of the light."""
        raise NotImplementedError

    def image_model(self, profiles: list[str], sources: int = 1, lights: int = 0) -> ImageModel:
        """An image model of these profiles, made of new parts as DeepLenseSim makes one for every image."""
        _, _, x0, y0, _, _, pixel_to_angle, _ = util.make_grid_with_coordtransform(
            num_pix=self.num_pix, delta_pix=self.delta_pix, center_ra=0, center_dec=0, subgrid_res=1, inverse=False
        )
        data = ImageData(
            image_data=np.zeros((self.num_pix, self.num_pix)),
            background_rms=BACKGROUND_RMS,
            exposure_time=EXPOSURE,
            ra_at_xy_0=x0,
            dec_at_xy_0=y0,
            transform_pix2angle=pixel_to_angle,
        )
        psf = PSF(psf_type="GAUSSIAN", fwhm=self.fwhm, pixel_size=self.delta_pix, truncation=self.truncation)
        if self.empirical_psf is not None:
            psf = PSF(psf_type="PIXEL", kernel_point_source=self.empirical_psf)
        convention: dict[str, Any] = {}
        if self.z_source_convention is not None:
            convention = {"z_lens": Z_LENS, "z_source": Z_SOURCE, "cosmo": PYHALO_UNIVERSE}
            convention["z_source_convention"] = self.z_source_convention
        numerics = {"supersampling_factor": 1, "supersampling_convolution": False}
        lens = LensModel(profiles, **convention)
        source, light = (LightModel([self.profile] * count) for count in (sources, lights))
        return ImageModel(data, psf, lens, source, light, kwargs_numerics=numerics)

    def image(self, keywords: Keywords) -> NDArray[np.float64]:
        """The noise-free image, flux per second and pixel, (H, W)."""
        model = self.image_model(keywords.profiles, len(keywords.source), len(keywords.light))
        return model.image(keywords.lens, keywords.source, keywords.light)

    def observed(self, image: NDArray[np.float64], drawn: Mapping[str, Any]) -> NDArray[Any]:
        """What is written to disk: twice the image; where there is an exposure, counts.

        To the image come photon noise and background; it is clipped at zero, and Poisson numbers of that are drawn.
        """
        if "exposure" not in drawn:
            return image + image
        photons = image_util.add_poisson(image, exp_time=drawn["exposure"])
        background = image_util.add_background(image, sigma_bkd=BACKGROUND_RMS)
        rate = drawn["exposure"] * (image + photons + background)
        return np.random.poisson(rate.clip(min=0))  # noqa: NPY002


@dataclass(frozen=True)
class DeepLense(Oracle):
    """The published sets: an isothermal halo, shear, point masses, one Sersic source."""

    def keywords(self, drawn: Mapping[str, Any]) -> Keywords:
        halo = {"theta_E": einstein_radius(drawn["halo_mass"]), "e1": drawn["e1"], "e2": drawn["e2"]}
        halo |= {"center_x": drawn["lens_x"], "center_y": drawn["lens_y"]}
        shear = {"gamma1": drawn["gamma1"], "gamma2": drawn["gamma2"]}
        there = range(int(drawn["point_count"]))
        points = [
            {
                "theta_E": einstein_radius(drawn["point_mass"][i]),
                "center_x": drawn["point_x"][i],
                "center_y": drawn["point_y"][i],
            }
            for i in there
        ]
        sersic = {"R_sersic": drawn["source_size"], "n_sersic": drawn["source_index"]}
        sersic |= {"e1": drawn["source_e1"], "e2": drawn["source_e2"]}
        sersic |= {"center_x": drawn["source_x"], "center_y": drawn["source_y"]}
        if self.zero_point is None:
            sersic["amp"] = drawn["source_amplitude"]
        else:
            flux = data_util.magnitude2cps(drawn["source_magnitude"], self.zero_point)
            (unit,) = LightModel(["SERSIC_ELLIPSE"]).total_flux([sersic | {"amp": 1.0}], norm=False)
            sersic["amp"] = flux / unit
        return Keywords(["SIE", "SHEAR", *["POINT_MASS" for _ in there]], [halo, shear, *points], [sersic])


@dataclass(frozen=True)
class Science(Oracle):
    """``corrected/*`` and ``survey/*`` before the projection: power law, multipoles, truncated NFW halos, many lights.

    A vortex is none of lenstronomy's profiles.
    """

    profile: ClassVar[str] = "CORE_SERSIC"

    def keywords(self, drawn: Mapping[str, Any]) -> Keywords:
        centre = {"center_x": drawn["lens_x"], "center_y": drawn["lens_y"]}
        theta_E = drawn["theta_E"]
        halo = {"theta_E": theta_E, "gamma": drawn["slope"] + 1, "e1": drawn["e1"], "e2": drawn["e2"]} | centre
        shear = {"gamma1": drawn["gamma1"], "gamma2": drawn["gamma2"]}
        poles = [
            {"m": m, "a_m": drawn[f"m{m}"] * theta_E, "phi_m": drawn[f"m{m}_angle"], "r_E": 1.0} | centre
            for m in (3, 4)
        ]
        there = range(int(drawn.get("subhalo_count", 0)))
        halos = [
            truncated_nfw(*(drawn[f"subhalo_{name}"][i] for name in ("x", "y", "theta_E", "scale"))) for i in there
        ]
        core = drawn.get("source_core", 0.0)
        return Keywords(
            ["EPL", "SHEAR", "MULTIPOLE", "MULTIPOLE", *["TNFW" for _ in there]],
            [halo, shear, *poles, *halos],
            sersics(drawn, "source", core) + sersics(drawn, "source_clump", core),
            sersics(drawn, "light"),
        )


TAU = 5.0
"""Truncation radius of a subhalo over its scale radius."""


def truncated_nfw(x: float, y: float, theta_E: float, scale: float) -> dict[str, float]:
    """lenstronomy's keywords of a halo with the Einstein radius of its total mass (Baltz et al. 2009, eq. A.4)."""
    square = TAU**2
    total = square / (square + 1) ** 2 * ((square - 1) * np.log(TAU) + TAU * np.pi - (square + 1))
    density = theta_E**2 / (4 * scale**3 * total)  # times scale over the critical surface density
    alpha = 4 * density * scale**2 * (1 + np.log(0.5))  # of an NFW halo of that density at its scale radius
    return {"Rs": scale, "alpha_Rs": alpha, "r_trunc": TAU * scale, "center_x": x, "center_y": y}


def sersics(drawn: Mapping[str, Any], name: str, core: float = 0.0) -> list[dict[str, float]]:
    """Components of a light, flat within a radius ``core``; none where nothing of this name was drawn."""
    theirs = {"amplitude": "amp", "size": "R_sersic", "index": "n_sersic", "e1": "e1", "e2": "e2"}
    theirs |= {"x": "center_x", "y": "center_y"}
    if f"{name}_amplitude" not in drawn:
        return []
    columns = {other: np.atleast_1d(drawn[f"{name}_{own}"]) for own, other in theirs.items()}
    shapes = [{key: float(column[i]) for key, column in columns.items()} for i in range(len(columns["amp"]))]
    return [shape | {"Rb": core, "gamma": 0.0, "alpha": 2.0} for shape in shapes]


ORACLES = {
    "deeplense/model-1": DeepLense(num_pix=150, delta_pix=0.05, fwhm=0.087, truncation=3),
    "deeplense/model-2": DeepLense(
        num_pix=64, delta_pix=0.101, fwhm=0.16, truncation=5, zero_point=24.0, z_source_convention=2.5
    ),
    "deeplense/model-3": DeepLense(
        num_pix=64, delta_pix=0.08, fwhm=0.08, truncation=5, zero_point=25.96, z_source_convention=2.5
    ),
}
"""By the name of the preset; the numbers are those of lenstronomy 1.9.2, with which the published sets were made."""

SCIENCE = {
    "corrected/model-1": Science(num_pix=150, delta_pix=0.05, fwhm=0.087, truncation=3),
    "corrected/model-1-deep": Science(num_pix=150, delta_pix=0.05, fwhm=0.087, truncation=3),
    "corrected/model-2": Science(num_pix=64, delta_pix=0.101, fwhm=0.16, truncation=5),
    "corrected/model-3": Science(num_pix=64, delta_pix=0.08, fwhm=0.08, truncation=5),
    "corrected/model-4": Science(num_pix=64, delta_pix=0.101, fwhm=0.16, truncation=5),
    "survey/hst": Science(num_pix=80, delta_pix=0.08, fwhm=0.08, truncation=5),
    "survey/euclid-vis": Science(num_pix=64, delta_pix=0.101, fwhm=0.16, truncation=5),
    "survey/jwst": Science(num_pix=200, delta_pix=0.031, fwhm=0.066, truncation=5),
    "survey/lsst": Science(num_pix=40, delta_pix=0.2, fwhm=0.71, truncation=5),
}
"""Of a preset with several bands, the first."""


def einstein_radius(mass: Any) -> float:
    """Einstein radius in arcsec of a mass in Msun as DeepLenseSim has it, from luminosity distances."""
    return float(_of_one_solar_mass() * np.sqrt(mass))


def rows(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Drawn parameters, tensors of (B, ...) each, lens by lens."""
    arrays = {name: tensor.numpy() for name, tensor in parameters.items()}
    return [{name: array[i] for name, array in arrays.items()} for i in range(len(arrays["theta_E"]))]


@cache
def _of_one_solar_mass() -> float:
    universe = FlatLambdaCDM(H0=70, Om0=0.3, Ob0=0.05)
    near, far = (universe.luminosity_distance(z).to(units.m) for z in (Z_LENS, Z_SOURCE))
    square = 4 * constants.G * constants.M_sun / constants.c**2 * (far - near) / (near * far)
    return float(np.sqrt(square.to_value(units.one)) * 206265)

"""DeepLense lenses by lenstronomy: the oracle of the tests and the peer of the benchmarks.

Written from what DeepLenseSim does (commit a0c0191) with lenstronomy's own classes and astropy's distances. From
arcformer it takes nothing but the numbers that were drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

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

__all__ = ["ORACLES", "Keywords", "Oracle", "rows"]

Z_LENS, Z_SOURCE = 0.5, 1.0
BACKGROUND_RMS = 0.01
EXPOSURE = 1000.0  # an image model wants one, the noise-free image does not depend on it
PYHALO_UNIVERSE = FlatLambdaCDM(H0=69.7, Om0=0.2814, Ob0=0.0464)  # DeepLenseSim hands it on to lenstronomy


@dataclass(frozen=True)
class Keywords:
    """What lenstronomy takes of one lens: the names of its profiles, and their parameters and the source's."""

    profiles: list[str]
    lens: list[dict[str, float]]
    source: list[dict[str, float]]


@dataclass(frozen=True)
class Oracle:
    """The instrument of a preset as lenstronomy names its parts, and images of lenses through it.

    Attributes:
        num_pix, delta_pix: pixels per side, and their size in arcsec.
        fwhm, truncation: of the Gaussian PSF, in arcsec and sigma.
        zero_point: magnitude of one count per second; None where the source has an amplitude.
        z_source_convention: redshift of the source for which the Einstein radii are taken to be meant.
    """

    num_pix: int
    delta_pix: float
    fwhm: float
    truncation: float
    zero_point: float | None = None
    z_source_convention: float | None = None

    def keywords(self, drawn: Mapping[str, Any]) -> Keywords:
        """Of a lens with drawn parameters: numbers, and arrays of point masses."""
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

    def image_model(self, profiles: list[str]) -> ImageModel:
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
        convention: dict[str, Any] = {}
        if self.z_source_convention is not None:
            convention = {"z_lens": Z_LENS, "z_source": Z_SOURCE, "cosmo": PYHALO_UNIVERSE}
            convention["z_source_convention"] = self.z_source_convention
        numerics = {"supersampling_factor": 1, "supersampling_convolution": False}
        lens, light = LensModel(profiles, **convention), LightModel(["SERSIC_ELLIPSE"])
        return ImageModel(data, psf, lens, light, kwargs_numerics=numerics)

    def image(self, keywords: Keywords) -> NDArray[np.float64]:
        """The noise-free image, flux per second and pixel, (H, W)."""
        return self.image_model(keywords.profiles).image(keywords.lens, keywords.source)

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


ORACLES = {
    "deeplense/model-1": Oracle(num_pix=150, delta_pix=0.05, fwhm=0.087, truncation=3),
    "deeplense/model-2": Oracle(
        num_pix=64, delta_pix=0.101, fwhm=0.16, truncation=5, zero_point=24.0, z_source_convention=2.5
    ),
    "deeplense/model-3": Oracle(
        num_pix=64, delta_pix=0.08, fwhm=0.08, truncation=5, zero_point=25.96, z_source_convention=2.5
    ),
}
"""By the name of the preset; the numbers are those of lenstronomy 1.9.2, with which the published sets were made."""


def einstein_radius(mass: Any) -> float:
    """Einstein radius in arcsec of a mass in Msun as DeepLenseSim has it, from luminosity distances."""
    return float(_of_one_solar_mass() * np.sqrt(mass))


def rows(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Drawn parameters, tensors of (B, ...) each, lens by lens."""
    arrays = {name: tensor.numpy() for name, tensor in parameters.items()}
    return [{name: array[i] for name, array in arrays.items()} for i in range(len(arrays["halo_mass"]))]


@cache
def _of_one_solar_mass() -> float:
    universe = FlatLambdaCDM(H0=70, Om0=0.3, Ob0=0.05)
    near, far = (universe.luminosity_distance(z).to(units.m) for z in (Z_LENS, Z_SOURCE))
    square = 4 * constants.G * constants.M_sun / constants.c**2 * (far - near) / (near * far)
    return float(np.sqrt(square.to_value(units.one)) * 206265)

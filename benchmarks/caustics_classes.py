"""DeepLense lenses by the classes of caustics, mapped over a batch by ``torch.vmap``: a further peer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import caustics
import torch
from torch import Tensor

from arcformer.sim.lens import ellipse
from arcformer.sim.presets import Preset

__all__ = ["simulator"]


def simulator(preset: Preset, points: int) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """A function from drawn parameters, (B,) or (B, N) each, N = ``points``, to noise-free images (B, H, W)."""
    cosmology = caustics.FlatLambdaCDM(name="cosmology")
    halo = caustics.SIE(cosmology=cosmology, name="halo")
    shear = caustics.ExternalShear(cosmology=cosmology, x0=0.0, y0=0.0, name="shear")
    masses = [caustics.Point(cosmology=cosmology, name=f"point{i}") for i in range(points)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that redshifts of the planes are overwritten
        lens = caustics.SinglePlane(cosmology=cosmology, lenses=(halo, shear, *masses), z_l=0.5, z_s=1.0, name="lens")
    render = caustics.LensSource(
        lens,
        caustics.Sersic(use_lenstronomy_k=True, name="source"),
        pixelscale=preset.pixel_scale,
        pixels_x=preset.pixels,
        psf=preset.instrument.psf.kernel(preset.pixel_scale)[0],
        psf_mode="conv2d",
    )
    names = [(next(iter(parameter.parents)).name, parameter.name) for parameter in render.dynamic_params]

    def images(drawn: Mapping[str, Tensor]) -> Tensor:
        known = _named(drawn, preset.geometry.deflection_scaling)
        columns = torch.stack([known[name].float() for name in names], dim=1)
        return torch.vmap(render)(columns) * preset.pixel_scale**2

    return images


def _named(drawn: Mapping[str, Tensor], scaling: float) -> dict[tuple[str, str], Tensor]:
    """Parameters by the names of object and parameter that ``simulator`` gives them, deflections multiplied."""
    q, cosine, sine = ellipse(drawn["e1"], drawn["e2"])
    named = {("halo", "q"): q, ("halo", "phi"): torch.atan2(sine, cosine), ("halo", "Rein"): scaling * drawn["theta_E"]}
    named |= {("halo", "x0"): drawn["lens_x"], ("halo", "y0"): drawn["lens_y"]}
    named |= {("shear", "gamma_1"): scaling * drawn["gamma1"], ("shear", "gamma_2"): scaling * drawn["gamma2"]}
    q, cosine, sine = ellipse(drawn["source_e1"], drawn["source_e2"])
    named |= {("source", "q"): q, ("source", "phi"): torch.atan2(sine, cosine), ("source", "n"): drawn["source_index"]}
    named |= {("source", "Re"): drawn["source_size"] / q.sqrt(), ("source", "Ie"): drawn["source_amplitude"]}
    named |= {("source", "x0"): drawn["source_x"], ("source", "y0"): drawn["source_y"]}
    points = {"x0": drawn["point_x"], "y0": drawn["point_y"], "Rein": drawn["point_theta_E"] * scaling**0.5}
    for name, values in points.items():
        named |= {(f"point{i}", name): column for i, column in enumerate(values.unbind(1))}
    return named

"""Priors of the light of sources and lenses: smooth galaxies, clumpy ones, and pictures of real ones.

Each draws its parameters under a name, ``source`` or ``light``, as ``source_x``; columns are (B,), or (B, K) where
there are several components. Angles arcsec, fluxes per second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from arcformer.errors import InputError
from arcformer.sim.light import sersic_flux
from arcformer.sim.powerlaw import Vector
from arcformer.sim.priors import NOTHING, ONE, Prior, Uniform

__all__ = ["Clumps", "Galaxy", "Stamps", "flux_of_magnitude"]

FULL_TURN = Uniform(0.0, 2 * math.pi)


def flux_of_magnitude(magnitude: Tensor, zero_point: float | None) -> Tensor:
    """Counts per second; raises ``InputError`` where the instrument has no zero point."""
    if zero_point is None:
        raise InputError("a magnitude needs an instrument with a zero point; give an amplitude, or a zero point")
    return 10 ** (-0.4 * (magnitude - zero_point))


@dataclass(frozen=True)
class Clumps:
    """Priors of knots of star formation in a galaxy: round exponential discs, ``number`` of them.

    ``share`` is the flux of each over that of the smooth galaxy, ``size`` its half-light radius over the galaxy's, and
    ``spread`` its distance from the centre in half-light radii of the galaxy. Clumps lie in any direction, or with
    ``arms`` along that many logarithmic spirals.
    """

    number: int
    share: Prior
    size: Prior
    spread: Prior
    arms: int = 0

    def draw(self, name: str, galaxy: Mapping[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        """Columns ``name_clump_x`` and the like, (B, number) each."""
        own = {key: galaxy[f"{name}_{key}"][:, None] for key in ("x", "y", "size", "index", "amplitude")}
        core = galaxy[f"{name}_core"][:, None] if f"{name}_core" in galaxy else None
        shape = (len(own["x"]), self.number)
        share, size, spread = (prior.draw(shape, generator) for prior in (self.share, self.size, self.spread))
        direction = FULL_TURN.draw(shape, generator)
        if self.arms:
            arm = (direction * self.arms / (2 * math.pi)).floor() * (2 * math.pi / self.arms)
            direction = FULL_TURN.draw((shape[0], 1), generator) + arm + 2 * (0.1 + spread).log()
        size, index = size * own["size"], torch.ones(shape, dtype=torch.float64)
        flux = share * own["amplitude"] * sersic_flux(own["size"], own["index"], core)
        columns = {
            "amplitude": flux / sersic_flux(size, index, core),
            "size": size,
            "index": index,
            "e1": torch.zeros_like(size),
            "e2": torch.zeros_like(size),
            "x": own["x"] + spread * own["size"] * direction.cos(),
            "y": own["y"] + spread * own["size"] * direction.sin(),
        }
        return {f"{name}_clump_{key}": column for key, column in columns.items()}


@dataclass(frozen=True)
class Galaxy:
    """Priors of a Sersic profile, with clumps or without.

    Its brightness is given as ``amplitude``, at the half-light radius, or as ``magnitude``, of the smooth profile.
    ``colours`` are magnitudes in the second band and the following less that in the first. Within ``core``, in sizes of
    the galaxy, the profiles are flat, its own and those of its clumps.
    """

    x: Prior
    y: Prior
    size: Prior
    index: Prior
    e1: Prior
    e2: Prior
    amplitude: Prior | None = None
    magnitude: Prior | None = None
    clumps: Clumps | None = None
    colours: tuple[Prior, ...] = ()
    core: float = 0.0

    def __post_init__(self) -> None:
        if (self.amplitude is None) == (self.magnitude is None):
            raise InputError("a galaxy needs either amplitude or magnitude")
        if self.core < 0:
            raise InputError(f"core is {self.core}: a galaxy's core has a radius of 0 or more, in half-light radii")

    def draw(self, name: str, count: int, generator: Generator, zero_point: float | None) -> dict[str, Tensor]:
        """Parameters of ``count`` galaxies."""
        named = {key: getattr(self, key) for key in ("x", "y", "size", "index", "e1", "e2", "amplitude", "magnitude")}
        drawn = {f"{name}_{key}": prior.draw((count,), generator) for key, prior in named.items() if prior is not None}
        if bool((drawn[f"{name}_size"] <= 0).any()) or bool((drawn[f"{name}_index"] <= 0).any()):
            raise InputError(f"sizes and indices of {name} cannot be negative or zero; its priors are {self}")
        if self.core:
            drawn[f"{name}_core"] = self.core * drawn[f"{name}_size"]
        if self.magnitude is not None:
            flux = flux_of_magnitude(drawn[f"{name}_magnitude"], zero_point)
            unit = sersic_flux(drawn[f"{name}_size"], drawn[f"{name}_index"], drawn.get(f"{name}_core"))
            drawn[f"{name}_amplitude"] = flux / unit
        if self.clumps is not None:
            drawn |= self.clumps.draw(name, drawn, generator)
        if self.colours:
            bands = [NOTHING, *self.colours]
            drawn[f"{name}_colour"] = torch.stack([10 ** (-0.4 * b.draw((count,), generator)) for b in bands], dim=1)
        return drawn


@dataclass(frozen=True, eq=False)
class Stamps:
    """Pictures of real galaxies, laid at random angles: (S, h, w) of total flux one each, ``pixel_scale`` arcsec.

    ``zoom`` is by how much a galaxy appears larger than in its picture, as one that is nearer would.
    """

    pictures: Tensor
    pixel_scale: float
    x: Prior
    y: Prior
    magnitude: Prior
    zoom: Prior = ONE
    colours: tuple[Prior, ...] = ()

    def __post_init__(self) -> None:
        pictures = self.pictures
        if pictures.ndim != 3 or not len(pictures) or not bool(pictures.isfinite().all()) or self.pixel_scale <= 0:
            raise InputError(
                f"stamps of shape {tuple(pictures.shape)}, {self.pixel_scale} arcsec: expected finite (S, h, w), S > 0"
            )

    def draw(self, name: str, count: int, generator: Generator, zero_point: float | None) -> dict[str, Tensor]:
        """Parameters of ``count`` galaxies."""
        named = {key: getattr(self, key) for key in ("x", "y", "magnitude", "zoom")}
        drawn = {f"{name}_{key}": prior.draw((count,), generator) for key, prior in named.items()}
        drawn[f"{name}_angle"] = FULL_TURN.draw((count,), generator)
        drawn[f"{name}_stamp"] = torch.randint(len(self.pictures), (count,), generator=generator)
        drawn[f"{name}_flux"] = flux_of_magnitude(drawn[f"{name}_magnitude"], zero_point)
        if self.colours:
            bands = [NOTHING, *self.colours]
            drawn[f"{name}_colour"] = torch.stack([10 ** (-0.4 * b.draw((count,), generator)) for b in bands], dim=1)
        return drawn

    def brightness(self, name: str, parameters: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """Flux per arcsec^2 (B, P) at (x, y), (B, P), between the pixels of a picture by bilinear interpolation."""
        pictures = self.pictures.to(x)[parameters[f"{name}_stamp"].to(x.device).view(-1)]
        return self._found(name, parameters, pictures, x, y)

    def derivatives(
        self, name: str, parameters: Mapping[str, Tensor], x: Tensor, y: Tensor
    ) -> tuple[Tensor, Vector, list[Tensor]]:
        """Brightness, its gradient, and by how much it changes with flux, centre, zoom and angle, (B, P) each.

        As ``light.light_derivatives`` gives them. The gradient is taken over a pixel of the picture.
        """
        p = {key: parameters[f"{name}_{key}"].to(x).view(len(x), 1) for key in ("x", "y", "zoom", "flux")}
        pictures = self.pictures.to(x)[parameters[f"{name}_stamp"].to(x.device).view(-1)]
        half = self.pixel_scale * p["zoom"] / 2
        found = self._found(name, parameters, pictures, x, y)
        lean_x, lean_y = (
            (self._found(name, parameters, pictures, *ahead) - self._found(name, parameters, pictures, *behind))
            / (2 * half)
            for ahead, behind in (((x + half, y), (x - half, y)), ((x, y + half), (x, y - half)))
        )
        dx, dy = x - p["x"], y - p["y"]
        changes = [found / p["flux"], lean_x, lean_y, dx * lean_x + dy * lean_y + 2 * found, dx * lean_y - dy * lean_x]
        return found, (lean_x, lean_y), changes

    def _found(self, name: str, parameters: Mapping[str, Tensor], pictures: Tensor, x: Tensor, y: Tensor) -> Tensor:
        keys = ("x", "y", "zoom", "angle", "flux")
        p = {key: parameters[f"{name}_{key}"].to(x).view(len(x), 1) for key in keys}
        scale = self.pixel_scale * p["zoom"]
        dx, dy = (x - p["x"]) / scale, (y - p["y"]) / scale
        u = dx * p["angle"].cos() + dy * p["angle"].sin()
        v = dy * p["angle"].cos() - dx * p["angle"].sin()
        height, width = pictures.shape[-2:]
        where = torch.stack([u / (width / 2), v / (height / 2)], dim=-1)[:, None]
        found = torch.nn.functional.grid_sample(pictures[:, None], where, align_corners=False)[:, 0, 0]
        return p["flux"] * found / scale**2

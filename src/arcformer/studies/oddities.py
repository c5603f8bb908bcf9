"""Oddities: what no statistic of normal lenses was told of, put into images of them, so that it is known what it finds.

An oddity makes of normal images the same with one kind of fault or surprise. Some are marks on the detector and are
painted on. Others are another sky; these are rendered anew, by the path of all presets, from the parameters with which
the normal images were simulated, and so need images that were. Nothing else about an image changes, its substructure
neither; painted marks and a second source add their light, all others leave an image about as bright as it was.

>>> @ODDITIES.register("black_hole")
... def black_hole(lenses: Normals, generator: Generator) -> LensBatch:
...     images = lenses.batch.images.clone()
...     images[..., 30:34, 30:34] = 0
...     return lenses.showing(images)

Shapes: B images, C channels, H x W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from torch import Generator, Tensor

from arcformer.batch import LensBatch
from arcformer.data.fixed import KEPT
from arcformer.data.observed import read_stamps
from arcformer.errors import InputError
from arcformer.randomness import stream
from arcformer.registry import Registry
from arcformer.sim.deflectors import KINDS
from arcformer.sim.galaxies import Stamps
from arcformer.sim.preset import Preset
from arcformer.sim.priors import NOTHING, LogUniform, Prior, Uniform
from arcformer.sim.render import clean_images

__all__ = ["ODDITIES", "NonLenses", "Normals", "NotSimulated", "Oddity", "panel"]

TURN, ANYWHERE, INSIDE = Uniform(0.0, 2 * math.pi), Uniform(0.0, 1.0), Uniform(0.25, 0.75)

RAYS, LONGEST = 3, 8.0
"""Cosmic rays in an image, and pixels that one goes through at most."""

BRIGHT = LogUniform(0.3, 3.0)
"""Pixels that a cosmic ray goes through, over the brightest of the image."""

TRAIL, TRAIL_WIDTH = LogUniform(0.1, 1.0), 1.0
"""The middle of a satellite's trail, over the brightest pixel; its standard deviation across, pixels."""

COMPANION = Uniform(0.02, 0.1)
"""Mass of a second deflector over that of the halo, within the Einstein radius of each."""

AWAY = Uniform(0.8, 1.2)
"""Of a second deflector from the centre of the halo, Einstein radii."""

NO_LENS = 1e-6
"""An Einstein radius, arcsec, that bends nothing."""


class NotSimulated(InputError):
    """An oddity that is rendered, asked of images that were not."""


@dataclass(frozen=True)
class Normals:
    """Normal images in physical units, and what they were simulated with.

    Attributes:
        batch: the images; of simulated ones ``extras`` holds what was drawn.
        simulated: the preset that they are of; None where they are not simulated.
    """

    batch: LensBatch
    simulated: Preset | None = None

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def preset(self) -> Preset:
        """Raises ``NotSimulated`` where there is none, or where the images do not hold what was drawn."""
        if self.simulated is None or "theta_E" not in self.batch.extras:
            raise NotSimulated("it is rendered anew, and how these images were simulated is not known")
        return self.simulated

    @cached_property
    def parameters(self) -> dict[str, Tensor]:
        """What was drawn, (B, ...) each, on the CPU."""
        assert self.preset
        return {name: value.cpu() for name, value in self.batch.extras.items() if name not in KEPT}

    @property
    def peak(self) -> Tensor:
        """The brightest pixel of each image, (B, 1, 1, 1)."""
        return self.batch.images.nan_to_num(nan=-torch.inf).amax((1, 2, 3), keepdim=True).clamp(min=0)

    def clean(self, parameters: Mapping[str, Tensor], preset: Preset | None = None) -> Tensor:
        """Noise-free images (B, 1, H, W) of other parameters, or of another preset, flux per second and pixel."""
        preset = self.preset if preset is None else preset
        side = self.batch.images.shape[-1]
        return clean_images(preset, dict(parameters), pixels=side, device=self.batch.images.device)

    def observed(self, clean: Tensor, generator: Generator) -> LensBatch:
        """What the instrument of the preset makes of noise-free images, with noise of their own."""
        instrument = self.preset.instrument
        exposed = {name: p.to(clean) for name, p in self.parameters.items() if name == "exposure"}
        images = instrument.noise.observe(clean, exposed, _on(clean.device, generator))
        found = self.showing(images.repeat(1, instrument.copies, 1, 1))
        if self.batch.noise_std is None:
            return found
        return replace(found, noise_std=instrument.noise.std(clean, exposed).repeat(1, instrument.copies, 1, 1))

    def showing(self, images: Tensor) -> LensBatch:
        """The batch with other images, without what was known of the sky that they showed."""
        return replace(self.batch, images=images, targets=None, target_names=(), high_res=None, extras={})


class Oddity(Protocol):
    """What makes odd images of normal ones."""

    def __call__(self, lenses: Normals, generator: Generator) -> LensBatch:
        """Odd images, as many, of the same shape, unit and pixels.

        Args:
            lenses: normal images, which are left as they are.
            generator: of all random numbers, on the CPU.

        Raises:
            NotSimulated: it has to be rendered, and how ``lenses`` were is not known.
        """
        ...


ODDITIES: Registry[Oddity] = Registry("oddity")


@ODDITIES.register("cosmic_rays")
def cosmic_rays(lenses: Normals, generator: Generator) -> LensBatch:
    """A few straight tracks of bright pixels, one pixel wide, anywhere."""
    images = lenses.batch.images.clone()
    (height, width), count = images.shape[-2:], len(images)
    steps = torch.linspace(0, 1, 4 * math.ceil(LONGEST))
    rows = torch.arange(count)[:, None].expand(-1, len(steps))
    for _ in range(RAYS):
        y, x, long, angle, bright = (
            _drawn(prior, count, generator)[:, None] for prior in (ANYWHERE, ANYWHERE, ANYWHERE, TURN, BRIGHT)
        )
        along = long * LONGEST * steps
        down = (y * height + along * angle.sin()).long().clamp(0, height - 1)
        across = (x * width + along * angle.cos()).long().clamp(0, width - 1)
        hit = torch.zeros(count, 1, height, width, dtype=torch.bool)
        hit[rows, 0, down, across] = True
        images += hit.to(images.device) * bright[:, :, None, None].to(images) * lenses.peak
    return lenses.showing(images)


@ODDITIES.register("dead_columns")
def dead_columns(lenses: Normals, generator: Generator) -> LensBatch:
    """A column, in the middle half of the image, that reads zero."""
    width = lenses.batch.images.shape[-1]
    dead = (_drawn(INSIDE, len(lenses), generator) * width).long()
    column = (torch.arange(width) == dead[:, None])[:, None, None].to(lenses.batch.images.device)
    return lenses.showing(lenses.batch.images.masked_fill(column, 0.0))


@ODDITIES.register("satellite_trail")
def satellite_trail(lenses: Normals, generator: Generator) -> LensBatch:
    """A straight line of light across the whole image, through its middle half."""
    images = lenses.batch.images
    height, width = images.shape[-2:]
    y, x, angle, bright = (_drawn(prior, len(images), generator) for prior in (INSIDE, INSIDE, TURN, TRAIL))
    down = torch.arange(height)[:, None] - (y * height)[:, None, None]
    across = torch.arange(width) - (x * width)[:, None, None]
    distance = down * angle.cos()[:, None, None] - across * angle.sin()[:, None, None]
    light = bright[:, None, None] * (-0.5 * (distance / TRAIL_WIDTH) ** 2).exp()
    return lenses.showing(images + light[:, None].to(images) * lenses.peak)


@ODDITIES.register("double_source")
def double_source(lenses: Normals, generator: Generator) -> LensBatch:
    """A second source behind the same lens, drawn as the first was."""
    preset = lenses.preset
    second = preset.source.draw("source", len(lenses), generator, preset.instrument.zero_point)
    dark = replace(preset, lens_light=())
    alone = _without(lenses.parameters, "light_") | second
    return lenses.observed(lenses.clean(lenses.parameters) + lenses.clean(alone, dark), generator)


@ODDITIES.register("second_deflector")
def second_deflector(lenses: Normals, generator: Generator) -> LensBatch:
    """A dark, compact companion near the ring, a point of some per cent of the mass of the halo.

    It comes to the substructure that a lens has, and nobody has put it into a macromodel: where a preset takes away the
    smooth part of what bends, that of the substructure alone is.
    """
    p, count = lenses.parameters, len(lenses)
    share, away, angle = (_drawn(prior, count, generator) for prior in (COMPANION, AWAY, TURN))
    companion = {
        "x": p["lens_x"] + away * p["theta_E"] * angle.cos(),
        "y": p["lens_y"] + away * p["theta_E"] * angle.sin(),
        "theta_E": share.sqrt() * p["theta_E"],
    }
    table = {f"point_{name}": column[:, None] for name, column in companion.items()}
    own = p.get("point_count", torch.zeros(count, dtype=torch.int64))
    table |= {name: torch.cat([column, p[name]], dim=1) for name, column in table.items() if name in p}
    there, unfitted = p | table | {"point_count": own + 1}, replace(lenses.preset, projected=False)
    clean = lenses.clean(there, unfitted)
    if lenses.preset.projected:
        clean = (clean - lenses.clean(p, unfitted) + lenses.clean(p)).clamp(min=0)
    return lenses.observed(clean, generator)


@ODDITIES.register("wrong_psf")
def wrong_psf(lenses: Normals, generator: Generator) -> LensBatch:
    """Seen through the PSF four times over: of a Gaussian, twice as wide."""
    preset, clean = lenses.preset, lenses.clean(lenses.parameters)
    which = lenses.parameters.get("psf_index")
    which = None if which is None else which.repeat_interleave(clean.shape[1])
    for _ in range(3):
        wider = preset.instrument.psf.convolve(clean.flatten(0, 1), preset.pixel_scale, which)
        clean = wider.view_as(clean)
    return lenses.observed(clean, generator)


@dataclass(frozen=True)
class NonLenses:
    """A galaxy with nothing in front of it that bends its light, neither halo nor substructure, as bright as its arcs.

    Attributes:
        galaxies: a folder of FITS stamps of real ones (see ``data.observed.read_stamps``), seen from the front in the
            middle; None: the sources of the normal lenses, where they are.
    """

    galaxies: Path | None = None

    def __call__(self, lenses: Normals, generator: Generator) -> LensBatch:
        preset, p, count = lenses.preset, lenses.parameters, len(lenses)
        none = torch.zeros(count, dtype=torch.float64)
        flat = p | dict.fromkeys(("gamma1", "gamma2", "m3", "m4"), none) | {"theta_E": none + NO_LENS}
        for kind in KINDS:
            flat = _without(flat, f"{kind.name}_")
        if self.galaxies is not None:
            pictures, scale, _ = read_stamps(self.galaxies)
            seen = Stamps(pictures, scale, x=NOTHING, y=NOTHING, magnitude=NOTHING)
            colour = {name: value for name, value in p.items() if name == "source_colour"}
            real = seen.draw("source", count, generator, 0.0)
            flat, preset = _without(flat, "source_") | colour | real, replace(preset, source=seen)
        arcs, galaxy = (
            lenses.clean(_without(drawn, "light_"), replace(of, lens_light=())).sum((1, 2, 3)).cpu().double()
            for drawn, of in ((p, lenses.preset), (flat, preset))
        )
        brighter = arcs / galaxy.clamp(min=1e-300)
        for name in ("source_amplitude", "source_clump_amplitude", "source_flux"):
            if name in flat:
                flat[name] = flat[name] * brighter.view(-1, *[1] * (flat[name].ndim - 1))
        return lenses.observed(lenses.clean(flat, preset), generator)


ODDITIES.register("non_lenses")(NonLenses())


def panel(
    lenses: Normals, *, seed: int = 0, names: Iterable[str] | None = None, galaxies: Path | None = None
) -> tuple[dict[str, LensBatch], dict[str, str]]:
    """Every oddity in the same normal images.

    Args:
        lenses: the normal images.
        seed: each oddity has a random stream of its own under it.
        names: of oddities, import strings among them; None: all of ``ODDITIES``.
        galaxies: a folder of real galaxies for ``non_lenses``.

    Returns:
        Odd images by the name of the oddity; and why those are left out that these images cannot have.

    Raises:
        InputError: an unknown oddity, or a folder without a stamp that can be used.
    """
    made, lacking = {}, {}
    for name in ODDITIES if names is None else names:
        oddity = NonLenses(galaxies) if name == "non_lenses" and galaxies else ODDITIES.get(name)
        try:
            made[name] = oddity(lenses, stream(seed, "oddity", name))
        except NotSimulated as reason:
            lacking[name] = str(reason)
    return made, lacking


def _drawn(prior: Prior, count: int, generator: Generator) -> Tensor:
    return prior.draw((count,), generator)


def _without(parameters: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: value for name, value in parameters.items() if not name.startswith(prefix)}


def _on(device: torch.device, generator: Generator) -> Generator:
    """A generator on ``device`` that goes on from one on the CPU."""
    if device.type == "cpu":
        return generator
    return Generator(device).manual_seed(int(torch.randint(2**62, (), generator=generator)))

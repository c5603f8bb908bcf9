"""A scene: lenses and sources with given parameters, and the brightness that rays through a grid of pixels end on.

The one path of all presets. Deflectors below the halo are added up block by block, and where the preset asks for it
what a macromodel could absorb of them is taken away; the halo and its shear come on top; behind them the light of the
source is looked up, less what a refitted smooth lens would explain of it, and the lens's own light is added.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from arcformer.sim.deflectors import KINDS
from arcformer.sim.galaxies import Stamps
from arcformer.sim.kernels import at_a_time, kernel, pieces
from arcformer.sim.lens import Macromodel
from arcformer.sim.light import Light, brightness, sersics
from arcformer.sim.preset import Preset
from arcformer.sim.projection import absorbed, annulus, without
from arcformer.sim.refit import by_macromodel, by_source, explained, sums

__all__ = ["Scene"]

AT_ONCE = 10
"""So many times fewer lenses are refitted at a time than rendered: each takes some forty images to work on.

Not forty times fewer, for then the calls themselves would take much of the time.
"""

REFITTED = 3.0
"""Half the side in arcsec of the central part whose light is refitted: farther out there is none to speak of."""


class Scene:
    """B lenses on a grid.

    Args:
        preset: says what the parameters mean.
        parameters: drawn, (B, ...) each, float64.
        x, y: coordinates of the pixels, (P,); their dtype and device are those of the images.
        compiled: whether the passes over the pixels are compiled.
    """

    def __init__(self, preset: Preset, parameters: dict[str, Tensor], x: Tensor, y: Tensor, compiled: bool):
        self.preset, self.parameters, self.x, self.y, self.compiled = preset, parameters, x, y, compiled
        self.lens = Macromodel.of(parameters).stacked()
        self.source, self.light = (
            (general.to(x), discs.to(x))
            for general, discs in (sersics(parameters, name) for name in ("source", "light"))
        )
        self.pictured = {
            name: galaxy
            for name, galaxy in (("source", preset.source), *(("light", light) for light in preset.lens_light))
            if isinstance(galaxy, Stamps)
        }
        self.tables = {
            kind.name: (kind, kind.table(parameters).to(x), count.to(x.device))
            for kind in KINDS
            if (count := kind.count(parameters)) is not None
        }

        self._crowd = torch.zeros(len(self), device=x.device)
        for _, _, count in self.tables.values():
            self._crowd += count

    def __len__(self) -> int:
        return len(self.parameters["theta_E"])

    @property
    def bands(self) -> int:
        """How many bands the preset has colours for."""
        colours = [p for name, p in self.parameters.items() if name.endswith("_colour")]
        return colours[0].shape[1] if colours else 1

    def portions(self) -> Iterator[Tensor]:
        """Rows of lenses to work on together: as many deflectors in each or none, and no more than fit a cache."""
        order = self._crowd.argsort(stable=True)
        few = at_a_time(len(self), self.x.numel(), self.x.device)
        for alike in order.tensor_split([int((self._crowd == 0).sum())]):
            for rows in pieces(alike, few) if len(alike) else ():
                # a batch of one would be compiled anew
                yield rows if len(rows) > 1 else rows.repeat(2)

    def brightness(self, rows: Tensor) -> Tensor:
        """Flux per arcsec^2 and second that the rays end on, (B, C, P), of the lenses in these rows."""
        bent = self.substructure(rows, self.x, self.y) if self._crowd[rows].any() else ()
        source = self._lensed(rows, *bent)
        light = None
        if "light" in self.pictured or any(table.shape[2] for table in self.light):
            light = self._coloured("light", rows, self._unlensed("light", rows))
        if self.preset.projected and bent:
            inside, part = self._central
            few = at_a_time(len(rows), AT_ONCE * len(inside), self.x.device)
            for some in pieces(torch.arange(len(rows), device=rows.device), few):
                there = some[:, None], inside
                behind = None if light is None else light[some][:, :, inside]
                source[there] -= part._explained(source[there], rows[some], behind)
        source = self._coloured("source", rows, source)
        total = source if light is None else source + light
        return total.clamp(min=0) if self.preset.projected else total

    @cached_property
    def _central(self) -> tuple[Tensor, Scene]:
        """The pixels of the central part, (Q,), and the scene there."""
        inside = ((self.x.abs() < REFITTED) & (self.y.abs() < REFITTED)).nonzero()[:, 0]
        return inside, Scene(self.preset, self.parameters, self.x[inside], self.y[inside], self.compiled)

    def _explained(self, source: Tensor, rows: Tensor, light: Tensor | None) -> Tensor:
        """What of the brightness of a source (B, P) a smooth lens explains that is a little different.

        By how much it is, is found in the image, behind the PSF and in the noise of all bands (``refit.py``).
        """
        rays = self._rays(rows)
        behind = _behind(*rays, compiled=self.compiled)
        if "source" in self.pictured:
            smooth, leaning, changes = self.pictured["source"].derivatives("source", self._drawn(rows), *behind)
            changes = torch.stack(changes, dim=1)
        else:
            smooth, leaning, changes = by_source(*_some(self.source, rows), *behind, compiled=self.compiled)
        by_lens = by_macromodel(*rays, *leaning, compiled=self.compiled)
        seen, was = self._seen(torch.stack([source, smooth], dim=1), rows).unbind(1)
        lens_light = 0.0 if light is None else self._seen(light, rows)
        std = self._noise(self._coloured("source", rows, was) + lens_light, rows)
        root = (self._coloured("source", rows, torch.ones_like(was)) / std).square().sum(1).sqrt()
        between = (self._coloured("source", rows, (seen + was) / 2) + lens_light).sum(1)
        sky = std.square().sum(1).amin(1, keepdim=True).sqrt()
        held = sums(between, sky, self.x, self.y, compiled=self.compiled)
        planes = seen - was, self._seen(changes, rows), self._seen(by_lens, rows)
        steps = explained(*planes, root, held, compiled=self.compiled)
        for_source, for_lens = steps[:, None].split([changes.shape[1], by_lens.shape[1]], dim=2)
        return (for_source @ changes + for_lens @ by_lens)[:, 0]

    def _noise(self, brightness: Tensor, rows: Tensor) -> Tensor:
        """The standard deviation of the noise in what is seen of a brightness, (B, C, P)."""
        side, area = math.isqrt(self.x.numel()), self._pixel_scale**2
        flux = (brightness * area).unflatten(2, (side, side))
        drawn = {name: p[rows.cpu()].to(flux) for name, p in self.parameters.items() if name == "exposure"}
        noise = self.preset.instrument.noise
        return (noise.std(flux, drawn) / noise.mean(torch.full_like(flux, area), drawn)).flatten(2)

    def _seen(self, light: Tensor, rows: Tensor) -> Tensor:
        """Brightness (B, K, P) through the PSF, where that is known on this grid."""
        psf, (count, each, _) = self.preset.instrument.psf, light.shape
        if not psf.fits(self._pixel_scale):
            return light
        side, which = math.isqrt(self.x.numel()), self.parameters.get("psf_index")
        which = None if which is None else which[rows.cpu()].repeat_interleave(each)
        images = light.reshape(count * each, side, side)
        return psf.convolve(images, self._pixel_scale, which, self.compiled).reshape(light.shape)

    @property
    def _pixel_scale(self) -> float:
        return float(self.x[1] - self.x[0])

    def _drawn(self, rows: Tensor, name: str = "source") -> dict[str, Tensor]:
        """The parameters of a galaxy in these rows."""
        return {key: p[rows.cpu()] for key, p in self.parameters.items() if key.startswith(f"{name}_")}

    def _rays(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The macromodel, the scaling of its deflection, and where the rays go through it."""
        scaling = self.x.new_tensor(self.preset.geometry.deflection_scaling)
        return self.lens[:, rows.cpu()].to(self.x), scaling, self.x, self.y

    def _lensed(self, rows: Tensor, *bent: Tensor) -> Tensor:
        """The brightness (B, P) of sources behind their macromodels and what bends rays besides, if any."""
        rays = (*self._rays(rows), *bent)
        if "source" in self.pictured:
            behind = _behind(*rays, compiled=self.compiled)
            return self.pictured["source"].brightness("source", self._drawn(rows), *behind)
        return _lensed(*_some(self.source, rows), *rays, compiled=self.compiled)

    def unlensed(self, rows: Tensor) -> Tensor:
        """Flux per arcsec^2 and second of the source alone, (B, C, P), were no lens in front of it."""
        return self._coloured("source", rows, self._unlensed("source", rows))

    def _unlensed(self, name: str, rows: Tensor) -> Tensor:
        if name in self.pictured:
            place = (axis.expand(len(rows), -1) for axis in (self.x, self.y))
            return self.pictured[name].brightness(name, self._drawn(rows, name), *place)
        return _shine(
            *_some(self.source if name == "source" else self.light, rows), self.x, self.y, compiled=self.compiled
        )

    def _coloured(self, name: str, rows: Tensor, brightness: Tensor) -> Tensor:
        """Brightness (B, P) in the bands, (B, C, P)."""
        colour = self.parameters.get(f"{name}_colour")
        if colour is None:
            return brightness[:, None].expand(-1, self.bands, -1)
        return brightness[:, None] * colour[rows.cpu()].to(brightness)[:, :, None]

    def substructure(self, rows: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The deflection of what is below the halo, (B, P) each; without its smooth part where the preset projects."""
        ax, ay = self.deflectors(rows, x, y)
        if not self.preset.projected or not any(int(count[rows].sum()) for _, _, count in self.tables.values()):
            return ax, ay
        lens = self.lens[:, rows.cpu()]
        at_x, at_y, area = annulus(*(self.parameters[name][rows.cpu()] for name in ("theta_E", "lens_x", "lens_y")))
        ring_x, ring_y = (part.cpu().double() for part in self.deflectors(rows, at_x.to(x), at_y.to(x)))
        smooth = absorbed(lens, ring_x, ring_y, at_x, at_y, area)
        return without(ax, ay, lens.to(x), smooth.to(x), x, y, compiled=self.compiled)

    def deflectors(self, rows: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The deflection of all that is below the halo, (B, P) each, as it is."""
        ax, ay = (x.new_zeros(len(rows), x.shape[-1]) for _ in "xy")
        for kind, table, count in self.tables.values():
            for block in kind.blocks(table[:, rows], count[rows]):
                ax, ay = kind.deflect(ax, ay, block, x, y, compiled=self.compiled)
        return ax, ay


def _some(light: Light, rows: Tensor) -> Light:
    return light[0][:, rows], light[1][:, rows]


@kernel
def _behind(lens: Tensor, scaling: Tensor, x: Tensor, y: Tensor, *bent: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays end in the plane of the source, deflected by the macromodel and by what bends them besides, if any."""
    return _through(lens, scaling, x, y, *bent)


@kernel
def _shine(general: Tensor, discs: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return brightness((general, discs), x, y)


@kernel
def _lensed(general: Tensor, discs: Tensor, *rays: Tensor) -> Tensor:
    """Both in one pass: the brightness of a galaxy behind the lens."""
    return brightness((general, discs), *_through(*rays))


def _through(lens: Tensor, scaling: Tensor, x: Tensor, y: Tensor, *bent: Tensor) -> tuple[Tensor, Tensor]:
    ax, ay = Macromodel.unstacked(lens).deflection(x, y)
    if bent:
        ax, ay = ax + bent[0], ay + bent[1]
    return x - scaling * ax, y - scaling * ay

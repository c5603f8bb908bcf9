"""A scene: lenses and sources with given parameters, and the brightness that rays through a grid of pixels end on.

The one path of all presets. Deflectors below the halo are added up block by block, and where the preset asks for it
what a macromodel could absorb of them is taken away; the halo and its shear come on top; behind them the light of the
source is looked up, less what a refitted smooth lens would explain of it, and the lens's own light is added.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from arcformer.sim.deflectors import KINDS
from arcformer.sim.galaxies import Stamps
from arcformer.sim.kernels import at_a_time, kernel
from arcformer.sim.lens import Macromodel
from arcformer.sim.light import sersic_brightness, sersics
from arcformer.sim.preset import MACROMODEL, Preset
from arcformer.sim.projection import ABSORBING, absorbed, annulus, uniform_deflection
from arcformer.sim.refit import explained, family, one_by_one

__all__ = ["Scene"]


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
        self.source = sersics(parameters, "source").to(x)
        self.light = sersics(parameters, "light").to(x)
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
        """Rows of lenses to work on together: as many deflectors in each, and no more than fit a cache."""
        order = self._crowd.argsort(stable=True)
        for rows in order.split(at_a_time(len(self), self.x.numel(), self.x.device)):
            # a batch of one would be compiled anew
            yield rows if len(rows) > 1 else rows.repeat(2)

    def brightness(self, rows: Tensor) -> Tensor:
        """Flux per arcsec^2 and second that the rays end on, (B, C, P), of the lenses in these rows."""
        bent = self.substructure(rows, self.x, self.y) if self._crowd[rows].any() else ()
        drawn = {name: p[rows.cpu()] for name, p in self.parameters.items() if _of_model(name)}
        source = self._lensed(drawn, rows, *bent)
        light = None
        if "light" in self.pictured or self.light.shape[2]:
            light = self._coloured("light", rows, self._unlensed("light", self.light, rows))
        if self.preset.projected and bent:
            source = (source - self._explained(source, drawn, rows, light)).clamp(min=0)
        return source if light is None else source + light

    def _explained(self, source: Tensor, drawn: dict[str, Tensor], rows: Tensor, light: Tensor | None) -> Tensor:
        """What of the brightness of a source (B, C, P) a smooth lens explains that is a little different.

        By how much it is different, is found as it is seen through the PSF and in the noise (see ``refit.py``).
        """
        columns, which = family(drawn), self.parameters.get("psf_index")
        side, count = math.isqrt(self.x.numel()), len(rows)
        scale = float(self.x[1] - self.x[0])
        instrument = self.preset.instrument

        def seen(light: Tensor) -> Tensor:
            """Flux per pixel of the grid, (N B, C P)."""
            flux = (light * scale**2).unflatten(2, (side, side))
            if instrument.psf.fits(scale):
                own = None if which is None else which[rows.cpu()].repeat(len(light) // count)
                own = None if own is None else own.repeat_interleave(flux.shape[1])
                flux = instrument.psf.convolve(flux.flatten(0, 1), scale, own, self.compiled).view_as(flux)
            return flux.flatten(1)

        trials = self._lensed(one_by_one(drawn, columns), rows.repeat(1 + len(columns)))
        slopes = trials.unflatten(0, (-1, count))
        smooth, varied = (part.squeeze(0) for part in seen(trials).unflatten(0, (-1, count)).split([1, len(columns)]))
        exposure = {n: p[rows.cpu()].to(smooth) for n, p in self.parameters.items() if n == "exposure"}
        flux = (smooth if light is None else smooth + seen(light)).view(count, -1, side, side)
        std = instrument.noise.std(flux, exposure) / instrument.noise.mean(torch.ones_like(flux), exposure)
        steps = explained(seen(source), smooth, varied, std.flatten(1) ** -2)
        return torch.einsum("bk,kbcp->bcp", steps, slopes[1:] - slopes[0])

    def _lensed(self, drawn: Mapping[str, Tensor], rows: Tensor, *bent: Tensor) -> Tensor:
        """The brightness (B, C, P) of sources behind macromodels of these parameters, in the colours of ``rows``."""
        scaling = self.x.new_tensor(self.preset.geometry.deflection_scaling)
        rays = (Macromodel.of(drawn).stacked().to(self.x), scaling, self.x, self.y, *bent)
        if "source" in self.pictured:
            source = self.pictured["source"].brightness("source", drawn, *_behind(*rays, compiled=self.compiled))
        else:
            source = _lensed(sersics(drawn, "source").to(self.x), *rays, compiled=self.compiled)
        return self._coloured("source", rows, source)

    def unlensed(self, rows: Tensor) -> Tensor:
        """Flux per arcsec^2 and second of the source alone, (B, C, P), were no lens in front of it."""
        return self._coloured("source", rows, self._unlensed("source", self.source, rows))

    def _unlensed(self, name: str, components: Tensor, rows: Tensor) -> Tensor:
        if name in self.pictured:
            return self._picture(name, rows, *(axis.expand(len(rows), -1) for axis in (self.x, self.y)))
        return _shine(components[:, rows], self.x, self.y, compiled=self.compiled)

    def _picture(self, name: str, rows: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The brightness of galaxies that are pictures, (B, P), in their own plane."""
        drawn = {key: p[rows.cpu()] for key, p in self.parameters.items() if key.startswith(f"{name}_")}
        return self.pictured[name].brightness(name, drawn, x, y)

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
        p = {name: self.parameters[name][rows.cpu()] for name in MACROMODEL}
        ring_x, ring_y, area = annulus(p["theta_E"], p["lens_x"], p["lens_y"])
        on_ring = self.deflectors(rows, ring_x.to(x), ring_y.to(x))
        uniform, change = absorbed(
            _deflection, p, on_ring[0].cpu().double(), on_ring[1].cpu().double(), ring_x, ring_y, area
        )
        ahead, behind = (
            Macromodel.of(p | {name: p[name] + sign * change[name] for name in ABSORBING}).stacked().to(x)
            for sign in (1, -1)
        )
        return _without(ax, ay, uniform.to(x), ahead, behind, x, y, compiled=self.compiled)

    def deflectors(self, rows: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The deflection of all that is below the halo, (B, P) each, as it is."""
        ax, ay = (x.new_zeros(len(rows), x.shape[-1]) for _ in "xy")
        for kind, table, count in self.tables.values():
            for block in kind.blocks(table[:, rows], count[rows]):
                ax, ay = kind.deflect(ax, ay, block, x, y, compiled=self.compiled)
        return ax, ay


def _of_model(name: str) -> bool:
    """Whether a parameter is one of the macromodel or of the source."""
    return name in MACROMODEL or name.startswith("source_")


def _deflection(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return _of(Macromodel.of(parameters).stacked()).deflection(x, y)


def _of(lens: Tensor) -> Macromodel:
    return Macromodel(*lens[:, :, None].unbind())


def _through(lens: Tensor, scaling: Tensor, x: Tensor, y: Tensor, *bent: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays end in the plane of the source, deflected by the macromodel and by what bends them besides, if any."""
    ax, ay = _of(lens).deflection(x, y)
    if bent:
        ax, ay = ax + bent[0], ay + bent[1]
    return x - scaling * ax, y - scaling * ay


def _sum(components: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The brightness (B, P) of Sersic components (7 or 8, B, K) together."""
    first, *others = (sersic_brightness(*c.unbind(), x=x, y=y) for c in components[..., None].unbind(2))
    return sum(others, first)


_behind, _shine = kernel(_through), kernel(_sum)


@kernel
def _lensed(components: Tensor, *rays: Tensor) -> Tensor:
    """Both in one pass: the brightness of components behind the lens."""
    return _sum(components, *_through(*rays))


@kernel
def _without(
    ax: Tensor, ay: Tensor, uniform: Tensor, ahead: Tensor, behind: Tensor, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """(ax, ay) less a uniform deflection and half the difference of two macromodels, the derivative along it."""
    ux, uy = uniform_deflection(uniform, x, y)
    (px, py), (mx, my) = _of(ahead).deflection(x, y), _of(behind).deflection(x, y)
    return ax - ux - (px - mx) / 2, ay - uy - (py - my) / 2

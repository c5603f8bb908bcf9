"""Rendering: preset + seed -> ``LensBatch``.

Parameters are drawn on the CPU in float64, images and noise are made on the device. Every step takes its own random
stream under (seed, names): the same seed gives the same lenses whatever the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.errors import InputError, near
from arcformer.randomness import stream
from arcformer.sim.instrument import pixel_grid
from arcformer.sim.kernels import at_a_time, can_compile, kernel
from arcformer.sim.lens import ellipse, macromodel_deflection, point_mass_deflection
from arcformer.sim.light import sersic_brightness
from arcformer.sim.presets import PRESETS, Preset

__all__ = ["balanced_labels", "can_compile", "clean_images", "draw", "simulate"]


def simulate(
    preset: Preset | str,
    count: int | None = None,
    *,
    seed: int,
    names: Sequence[str | int] = (),
    labels: Tensor | Sequence[str] | None = None,
    pixels: int | None = None,
    device: torch.device | str = "cpu",
    truth: bool = False,
) -> LensBatch:
    """Simulate lenses of a preset: images in its physical unit, labels, targets; ``extras`` holds all that was drawn.

    Args:
        preset: a preset or the name of one.
        count: how many lenses, the classes balanced and in random order; or give ``labels``.
        seed, names: the random stream. Same seed and names, same lenses.
        labels: classes of the lenses, as indices (B,) or names.
        pixels: side of the central part to render; None for the whole image. The part has the parity of the whole.
        truth: whether ``extras`` holds the noise-free image too, and the batch its noise.

    Raises:
        InputError: unknown preset or class, or a number that cannot be.
    """
    preset = PRESETS.get(preset) if isinstance(preset, str) else preset
    size = _central(preset, pixels)
    if labels is None:
        labels = balanced_labels(_positive("count", count), len(preset.classes), stream(seed, *names, "labels"))
    labels = _indices(labels, preset)
    parameters = draw(preset, labels, seed, *names)
    clean = clean_images(preset, parameters, pixels=size, device=device)
    on_device = {name: tensor.to(device, clean.dtype) for name, tensor in parameters.items() if name == "exposure"}
    images = preset.instrument.noise.observe(clean, on_device, stream(seed, *names, "noise", device=device))
    noise_std = preset.instrument.noise.std(clean, on_device) if truth else None
    truths = {"clean": preset.instrument.noise.mean(clean, on_device)[:, None]} if truth else {}
    psf = preset.instrument.psf.kernel(preset.pixel_scale).to(device)
    where = "/".join(str(part) for part in (preset.name, seed, *names))
    return LensBatch(
        images=images[:, None],
        labels=labels.to(device),
        classes=preset.classes,
        targets=_targets(preset, parameters).to(device),
        target_names=preset.targets,
        psf=psf.expand(len(labels), *psf.shape),
        noise_std=None if noise_std is None else noise_std[:, None],
        pixel_scale=torch.full((len(labels),), preset.pixel_scale, device=device),
        ids=tuple(f"{where}/{i}" for i in range(len(labels))),
        unit=preset.unit,
        extras={name: tensor.to(device) for name, tensor in parameters.items()} | truths,
    )


def balanced_labels(count: int, classes: int, generator: torch.Generator) -> Tensor:
    """Labels (count,) in random order, each class as often as any other but for a remainder."""
    return (torch.arange(count) % classes)[torch.randperm(count, generator=generator)]


def draw(preset: Preset, labels: Tensor, seed: int, *names: str | int) -> dict[str, Tensor]:
    """Parameters of the lenses with these labels, by name, float64 on the CPU.

    Halo, shear, source and exposure are drawn without regard to the class. Point masses are padded to the most that a
    class has: ``point_x``, ``point_y``, ``point_mass``, ``point_theta_E``, and ``point_count``; a parameter that only
    some classes have is NaN for the others.
    """
    count = len(labels)
    parameters = preset.draw_macromodel(count, stream(seed, *names, "macromodel"))
    parameters |= preset.instrument.noise.draw(count, stream(seed, *names, "observation"))
    most = max(population.size for population in preset.populations.values())
    for name in ("point_x", "point_y", "point_mass"):
        parameters[name] = torch.zeros(count, most, dtype=torch.float64)
    parameters["point_count"] = torch.zeros(count, dtype=torch.int64)
    for index, (name, population) in enumerate(preset.populations.items()):
        rows = (labels == index).nonzero()[:, 0]
        drawn = population.draw(len(rows), stream(seed, *names, "substructure", name))
        parameters["point_count"][rows] = population.size
        for key, values in drawn.items():
            if key.startswith("point_"):
                parameters[key][rows, : population.size] = values
            else:
                blank = torch.full((count, *values.shape[1:]), torch.nan, dtype=torch.float64)
                parameters.setdefault(key, blank)[rows] = values
    parameters["point_theta_E"] = preset.geometry.unit_einstein_radius * parameters["point_mass"].sqrt()
    return parameters


def clean_images(
    preset: Preset,
    parameters: dict[str, Tensor],
    *,
    pixels: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    compiled: bool | None = None,
) -> Tensor:
    """Noise-free images (B, H, W) of lenses with the given parameters, flux per second and pixel, PSF included.

    ``compiled`` None compiles where a compiler is at hand: 12 to 40 times faster, for some seconds once.
    """
    device = torch.device(device)
    compiled = can_compile() if compiled is None else compiled
    size, psf = _central(preset, pixels), preset.instrument.psf
    x, y = (axis.flatten() for axis in pixel_grid(size, preset.pixel_scale, dtype, device))
    images = torch.empty(len(parameters["theta_E"]), size, size, dtype=dtype, device=device)
    lens, source, points = (columns.to(device, dtype) for columns in _columns(preset, parameters))
    few = at_a_time(len(images), size**2, device)
    for number in parameters["point_count"].unique().tolist():
        for rows in (parameters["point_count"] == number).nonzero()[:, 0].to(device).split(few):
            if len(rows) == 1:
                rows = rows.repeat(2)  # a batch of one would be compiled anew
            bent = tuple(images.new_zeros(len(rows), size**2) for _ in "xy") if number else ()
            for block in _blocks(points[:, rows, :number]):
                bent = _add_point_masses(*bent, block, x, y, compiled=compiled)
            brightness = _brightness(lens[:, rows], source[:, rows], x, y, *bent, compiled=compiled)
            images[rows] = psf.convolve(brightness.unflatten(1, (size, size)), preset.pixel_scale, compiled)
    return images


BLOCK = 25  # point masses in one compiled pass: more compile slower, fewer read the images more often
FAR = 1e3  # arcsec, where the padding of a block stands


def _columns(preset: Preset, parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """What the kernels take, parameter by parameter: of the lenses (9, B), the sources (8, B), the points (3, B, N)."""
    p = parameters
    scaling = torch.full_like(p["theta_E"], preset.geometry.deflection_scaling)
    lens = (p["theta_E"], *ellipse(p["e1"], p["e2"]), p["lens_x"], p["lens_y"], p["gamma1"], p["gamma2"], scaling)
    shape = (p["source_size"], p["source_index"], *ellipse(p["source_e1"], p["source_e2"]))
    source = (p["source_amplitude"] * preset.pixel_scale**2, *shape, p["source_x"], p["source_y"])
    return torch.stack(lens), torch.stack(source), torch.stack([p["point_x"], p["point_y"], p["point_theta_E"]])


@kernel
def _add_point_masses(ax: Tensor, ay: Tensor, block: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    px, py = point_mass_deflection(*block.unbind(), x=x, y=y)
    return ax + px, ay + py


@kernel
def _brightness(lens: Tensor, source: Tensor, x: Tensor, y: Tensor, *bent: Tensor) -> Tensor:
    """Of the source, per pixel, behind the macromodel and what is bent besides, if anything."""
    *macromodel, scaling = lens[:, :, None].unbind()
    ax, ay = macromodel_deflection(*macromodel, x=x, y=y)
    if bent:
        ax, ay = ax + bent[0], ay + bent[1]
    return sersic_brightness(*source[:, :, None].unbind(), x=x - scaling * ax, y=y - scaling * ay)


def _blocks(points: Tensor) -> Iterator[Tensor]:
    """Point masses (3, B, N) in blocks of equal size, the last one padded with masses of nothing, far away."""
    for block in points.split(BLOCK, dim=2) if points.shape[2] else ():
        missing = BLOCK - block.shape[2]
        padding = block.new_tensor([FAR, FAR, 0.0])[:, None, None].expand(3, block.shape[1], missing)
        yield torch.cat([block, padding], dim=2).contiguous()


def _targets(preset: Preset, parameters: dict[str, Tensor]) -> Tensor:
    columns = [
        parameters[name.removeprefix("log10_")].log10() if name.startswith("log10_") else parameters[name]
        for name in preset.targets
    ]
    return torch.stack(columns, dim=1).float() if columns else torch.empty(len(parameters["theta_E"]), 0)


def _central(preset: Preset, pixels: int | None) -> int:
    size = preset.pixels if pixels is None else pixels
    if not 0 < size <= preset.pixels or (preset.pixels - size) % 2:
        raise InputError(
            f"{size} central pixels of preset {preset.name}: expected at most {preset.pixels}, and as "
            f"{'even' if preset.pixels % 2 == 0 else 'odd'} as that"
        )
    return size


def _positive(what: str, value: int | None) -> int:
    if value is None or value < 1:
        raise InputError(f"{what} is {value}: expected a whole number of at least 1")
    return value


def _indices(labels: Tensor | Sequence[str], preset: Preset) -> Tensor:
    if not isinstance(labels, Tensor):
        for name in labels:
            if name not in preset.classes:
                raise InputError(f"unknown class {name!r} of preset {preset.name}: {near(name, preset.classes)}")
        labels = torch.tensor([preset.classes.index(name) for name in labels])
    labels = labels.to("cpu", torch.int64)
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(preset.classes):
        raise InputError(f"labels of preset {preset.name} are 0 to {len(preset.classes) - 1}, got {labels.tolist()}")
    return labels

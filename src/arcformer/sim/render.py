"""Rendering: preset + seed -> ``LensBatch``.

Parameters are drawn on the CPU in float64, images and noise are made on the device. Every step takes its own random
stream under (seed, names): the same seed gives the same lenses whatever the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.errors import InputError, near
from arcformer.randomness import stream
from arcformer.sim.instrument import pixel_grid
from arcformer.sim.kernels import can_compile
from arcformer.sim.parameters import target
from arcformer.sim.presets import PRESETS, Preset
from arcformer.sim.scene import Scene

__all__ = ["balanced_labels", "can_compile", "clean_images", "draw", "draw_lens", "simulate"]


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
    finer: int | None = None,
    lens: Mapping[str, Tensor] | None = None,
    compiled: bool | None = None,
) -> LensBatch:
    """Simulate lenses of a preset: images in its physical unit, labels, targets; ``extras`` holds all that was drawn.

    Args:
        preset: a preset or the name of one.
        count: how many lenses, the classes balanced and in random order; or give ``labels``.
        seed, names: the random stream. Same seed and names, same lenses.
        labels: classes of the lenses, as indices (B,) or names.
        pixels: side of the central part to render; None for the whole image. The part has the parity of the whole.
        truth: whether ``extras`` holds the noise-free image too, and the batch its noise.
        finer: also give ``high_res``, the same sky noise-free at so many times the resolution, before the PSF.
            ``psf`` is then on its grid: ``high_res`` convolved with it and summed over blocks of ``finer`` x ``finer``
            pixels is the noise-free image exactly.
        lens: one macromodel, source and exposure for all, as ``draw_lens`` gives them; None: each its own.
        compiled: as for ``clean_images``.

    Raises:
        InputError: unknown preset or class, or a number that cannot be.
    """
    preset = PRESETS.get(preset) if isinstance(preset, str) else preset
    size = preset.central(pixels)
    if labels is None:
        labels = balanced_labels(_positive("count", count), len(preset.classes), stream(seed, *names, "labels"))
    labels = _indices(labels, preset)
    parameters = draw(preset, labels, seed, *names, lens=lens)
    noise, psf, scale = preset.instrument.noise, preset.instrument.psf, preset.pixel_scale
    high_res = None
    if finer is None:
        clean = clean_images(preset, parameters, pixels=size, device=device, compiled=compiled)
    else:
        scale = scale / _positive("finer", finer)
        drawn = {"psf": False, "device": device, "compiled": compiled}
        high_res = clean_images(preset, parameters, pixels=size, finer=finer, **drawn)
        seen = _seen(preset, high_res, scale, parameters, compiled)
        clean = seen.unfold(2, finer, finer).unfold(3, finer, finer).sum((4, 5))
    on_device = {name: tensor.to(device, clean.dtype) for name, tensor in parameters.items() if name == "exposure"}

    def copied(planes: Tensor) -> Tensor:
        return planes.repeat(1, preset.instrument.copies, 1, 1)

    images = copied(noise.observe(clean, on_device, stream(seed, *names, "noise", device=device)))
    kernel = psf.kernel(scale, parameters.get("psf_index")).to(device)
    where = "/".join(str(part) for part in (preset.name, seed, *names))
    return LensBatch(
        images=images,
        labels=labels.to(device),
        classes=preset.classes,
        targets=_targets(preset, parameters).to(device),
        target_names=preset.targets,
        high_res=None if high_res is None else copied(noise.mean(high_res, on_device)),
        psf=kernel.expand(len(labels), -1, -1),
        noise_std=copied(noise.std(clean, on_device)) if truth else None,
        pixel_scale=torch.full((len(labels),), preset.pixel_scale, device=device),
        ids=tuple(f"{where}/{i}" for i in range(len(labels))),
        unit=preset.unit,
        extras={name: tensor.to(device) for name, tensor in parameters.items()}
        | ({"clean": copied(noise.mean(clean, on_device))} if truth else {}),
    )


def balanced_labels(count: int, classes: int, generator: torch.Generator) -> Tensor:
    """Labels (count,) in random order, each class as often as any other but for a remainder."""
    return (torch.arange(count) % classes)[torch.randperm(count, generator=generator)]


def draw_lens(preset: Preset, labels: Tensor, seed: int, *names: str | int) -> dict[str, Tensor]:
    """Halo, shear, light and exposure of lenses with these labels, (B, ...) each, float64: all but substructure.

    Drawn without regard to the class, but for classes with another halo (``Preset.lens_of``).
    """
    parameters = preset.draw_macromodel(labels, stream(seed, *names, "macromodel"))
    parameters |= preset.instrument.noise.draw(len(labels), stream(seed, *names, "observation"))
    return parameters | preset.instrument.psf.draw(len(labels), stream(seed, *names, "psf"))


def draw(
    preset: Preset, labels: Tensor, seed: int, *names: str | int, lens: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Parameters of the lenses with these labels, by name, float64 on the CPU.

    The tables of deflectors (``point_x`` and the like, see ``substructure.py``) are padded to the most that a class of
    the preset has, and ``point_count`` says how many there are; a parameter that only some classes have is NaN for the
    others. With ``lens``, from ``draw_lens`` for one label, all lenses are that one but for their substructure.
    """
    count = len(labels)
    if lens is None:
        parameters = draw_lens(preset, labels, seed, *names)
    else:
        parameters = {name: p[:1].repeat(count, *[1] * (p.ndim - 1)) for name, p in lens.items()}
    populations = preset.populations.values()
    room = {kind: max(p.tables.get(kind, 0) for p in populations) for p in populations for kind in p.tables}
    parameters |= {f"{kind}_count": torch.zeros(count, dtype=torch.int64) for kind in room}
    for index, (name, population) in enumerate(preset.populations.items()):
        rows = (labels == index).nonzero()[:, 0]
        lens = {key: values[rows] for key, values in parameters.items()}
        drawn = population.draw(lens, stream(seed, *names, "substructure", name), preset.geometry)
        for key, values in drawn.items():
            kind = key.partition("_")[0]
            if key == f"{kind}_count":
                parameters[key][rows] = values
            elif kind in room:
                table = parameters.setdefault(key, torch.zeros(count, room[kind], dtype=torch.float64))
                table[rows, : values.shape[1]] = values
            else:
                parameters.setdefault(key, torch.full((count,), torch.nan, dtype=torch.float64))[rows] = values
    for kind in room:
        parameters[f"{kind}_theta_E"] = preset.geometry.unit_einstein_radius * parameters[f"{kind}_mass"].sqrt()
    return parameters


def clean_images(
    preset: Preset,
    parameters: dict[str, Tensor],
    *,
    pixels: int | None = None,
    finer: int = 1,
    psf: bool = True,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    compiled: bool | None = None,
) -> Tensor:
    """Noise-free images (B, C, H, W) of lenses with the given parameters, flux per second and pixel.

    Args:
        preset, parameters: as ``draw`` gives them.
        pixels: side of the central part to render.
        finer: pixels for each pixel of the instrument, on each axis.
        psf: whether they are seen through the PSF.
        compiled: None compiles where a compiler is at hand: 12 to 40 times faster, for some seconds once.
    """
    device = torch.device(device)
    compiled = can_compile() if compiled is None else compiled
    size, scale = preset.central(pixels) * finer, preset.pixel_scale / finer
    x, y = (axis.flatten() for axis in pixel_grid(size, scale, dtype, device))
    scene = Scene(preset, parameters, x, y, compiled)
    images = torch.empty(len(scene), scene.bands, size, size, dtype=dtype, device=device)
    for rows in scene.portions():
        seen = scene.brightness(rows).unflatten(2, (size, size)) * scale**2
        if psf:
            drawn = {name: p[rows.cpu()] for name, p in parameters.items() if name == "psf_index"}
            seen = _seen(preset, seen, scale, drawn, compiled)
        images[rows] = seen
    return images


def _seen(
    preset: Preset, images: Tensor, scale: float, parameters: Mapping[str, Tensor], compiled: bool | None
) -> Tensor:
    """Images (B, C, H, W) through the PSF of each."""
    which = parameters.get("psf_index")
    if which is not None:
        which = which.repeat_interleave(images.shape[1])
    return preset.instrument.psf.convolve(images.flatten(0, 1), scale, which, compiled).view_as(images)


def _targets(preset: Preset, parameters: dict[str, Tensor]) -> Tensor:
    columns = [target(name, parameters) for name in preset.targets]
    return torch.stack(columns, dim=1).float() if columns else torch.empty(len(parameters["theta_E"]), 0)


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

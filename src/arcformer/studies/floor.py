"""How well the mass of an axion can be measured at all, by the length of its vortex.

With the smooth lens known, or refitted (see ``bound.py``), an image says of a vortex what the noise leaves of the
change that it makes. Here the posterior of the length is worked out for a grid of lengths and a set of vortices that
differ in all else, angle and place; its median is the estimate with the least mean absolute error. Fisher's sigma, from
the slope of the image along the grid, is no error where it is large: a short vortex is a point to any telescope, but
that it is short is seen. Neither is it one where it is small, if a vortex is too faint to be told from the shortest.

Whoever knew nothing of the other vortices but their prior would do worse, so this is a floor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arcformer.errors import InputError
from arcformer.randomness import stream
from arcformer.sim.preset import Preset
from arcformer.sim.substructure import PublishedVortex, Vortex
from arcformer.studies.bound import Smooth

__all__ = ["MassFloor", "expected_errors", "mass_floor"]

Array = NDArray[np.float64]

NOISES = 12
"""Draws of the noise for each vortex."""


@dataclass(frozen=True)
class MassFloor:
    """The floor of the error of log10 of the axion's mass, dex.

    Attributes:
        half_length: (L,) arcsec, ascending, quantiles of the prior.
        sigma: (L,) from Fisher's matrix, all else known; the median over vortices.
        error: (L,) expected absolute error of the posterior's median.
        mae: the mean of ``error`` over the prior.
    """

    half_length: Array
    sigma: Array
    error: Array
    mae: float


def mass_floor(
    preset: Preset, *, lenses: int = 2, vortices: int = 12, lengths: int = 28, seed: int = 0, refitted: bool = False
) -> MassFloor:
    """The floor of a preset, from ``lenses * vortices * lengths`` images.

    Args:
        preset: one with noise and a class with vortices.
        lenses: smooth lenses that it is averaged over.
        vortices: of each lens, that differ in all but their length.
        lengths: how many of them are tried, at quantiles of the prior.
        seed: of lenses, vortices and noise.
        refitted: whether all parameters of lens and source are unknown; if not, only those that the preset varies.

    Raises:
        InputError: a preset without noise, or without vortices whose length varies.
    """
    name = next((n for n, p in preset.populations.items() if isinstance(p, (Vortex, PublishedVortex))), None)
    if name is None:
        raise InputError(f"{preset.name} has no class with vortices, of which a mass could be measured")
    sigmas, errors, half_length = [], [], np.zeros(lengths)
    for number in range(lenses):
        smooth = Smooth(preset, seed, number, refitted)
        if number == 0:
            drawn = smooth.draws(name, 4000)["vortex_half_length"].numpy()
            half_length = np.quantile(drawn, (np.arange(lengths) + 0.5) / lengths)
        if half_length[0] == half_length[-1]:
            raise InputError(f"{preset.name}: the mass of the axion never varies")
        changes = _changes(smooth, name, torch.from_numpy(half_length), vortices)
        sigma, error = expected_errors(changes, np.log10(half_length), stream(seed, "floor", number, "noise"))
        sigmas.append(sigma)
        errors.append(error)
    error = np.mean(errors, axis=0)
    return MassFloor(half_length, np.median(sigmas, axis=0), error, float(error.mean()))


def expected_errors(changes: Tensor, grid: Array, noise: torch.Generator) -> tuple[Array, Array]:
    """Fisher's sigma, and the expected absolute error of the posterior's median.

    Args:
        changes: (V, L, P) of an image, in units of the noise, by V vortices of L lengths.
        grid: (L,) what is measured, ascending; its values are as probable as each other, and so are the vortices.
        noise: for the noise of the images.

    Returns:
        Of each point of ``grid``, (L,): the median and the mean over the vortices.
    """
    count, lengths = changes.shape[:2]
    means = _reduced(changes.flatten(0, 1))  # (V L, M)
    slopes = np.gradient(means.view(count, lengths, -1).numpy(), grid, axis=1)
    sigma = np.median(1 / np.maximum(np.linalg.norm(slopes, axis=2), 1e-9), axis=0)
    total = np.zeros((count, lengths))
    for _ in range(NOISES):
        seen = means + torch.randn(means.shape, generator=noise, dtype=means.dtype)
        fit = seen @ means.T - means.square().sum(1) / 2
        posterior = (fit - fit.amax(1, keepdim=True)).exp().view(-1, count, lengths).sum(1).cumsum(1)
        median = grid[(posterior >= posterior[:, -1:] / 2).double().argmax(1).numpy()]
        total += np.abs(median.reshape(count, lengths) - grid)
    error, step = total.mean(0) / NOISES, np.gradient(grid)
    return sigma, np.where(sigma < step, math.sqrt(2 / math.pi) * sigma, error)  # which the grid is too coarse for


def _changes(smooth: Smooth, name: str, half_lengths: Tensor, vortices: int) -> Tensor:
    """Changes (V, L, P) of the image of a lens, in units of the noise, by vortices of these lengths."""
    population = smooth.preset.populations[name]
    assert isinstance(population, Vortex | PublishedVortex)
    drawn = smooth.draws(name, vortices)
    rows = torch.arange(vortices).repeat_interleave(len(half_lengths))
    known = {key: value[rows] for key, value in population.measurable(drawn).items()}
    known["log10_half_length"] = half_lengths.log10().repeat(vortices)
    tables = smooth.sized(population.rebuilt(known))
    return smooth.changed({key: value[rows] for key, value in drawn.items()} | tables).unflatten(0, (vortices, -1))


def _reduced(changes: Tensor) -> Tensor:
    """Vectors (N, P) in the space that they span, (N, M): their distances are the same."""
    values, vectors = torch.linalg.eigh(changes @ changes.mT)
    kept = values > 1e-6
    return vectors[:, kept] * values[kept].sqrt()

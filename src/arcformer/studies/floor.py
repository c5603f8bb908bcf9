"""How well the mass of an axion can be measured at all, by the length of its vortex.

Fisher's matrix of what is left of the image when the smooth lens is refitted (see ``bound.py``), with the other
parameters of the vortex unknown within their prior, gives the error sigma of log10 m for a vortex of a given length.
Short vortices are points to any telescope: there sigma is larger than the prior is wide, and no error. But neither is
the error then that of the prior, for it is seen that the vortex is short. So the expected error is that of the median
of a posterior. As the length grows, the image moves along a curve, by 1 / sigma standard deviations of the noise a dex;
how far along it an image lies is measured with an error of one, whatever the length. That is exact where the curve is
straight, as it is for short vortices, and too small an error where it bends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm

from arcformer.errors import InputError
from arcformer.sim.preset import Preset
from arcformer.sim.substructure import HALF_LENGTH, PublishedVortex, Vortex
from arcformer.studies.bound import Smooth

__all__ = ["MassFloor", "mass_floor"]

Array = NDArray[np.float64]

QUANTILES = (np.arange(200) + 0.5) / 200
"""Of the prior, on which posteriors are worked out."""

NOISE = norm.ppf((np.arange(40) + 0.5) / 40)
"""Quantiles of a normal distribution."""


@dataclass(frozen=True)
class MassFloor:
    """The floor of the error of log10 of the axion's mass, dex.

    Attributes:
        half_length: (L,) arcsec, ascending.
        sigma: (L,) from Fisher's matrix, without the prior of the length; the median over lenses and vortices.
        error: (L,) expected absolute error of the posterior's median, with the prior.
        mae: the mean of ``error`` over the prior.
    """

    half_length: Array
    sigma: Array
    error: Array
    mae: float


def mass_floor(
    preset: Preset, *, lenses: int = 2, vortices: int = 3, lengths: int = 10, seed: int = 0, refitted: bool = False
) -> MassFloor:
    """The floor of a preset.

    Args:
        preset: one with noise and a class with vortices.
        lenses, vortices: how many smooth lenses, and vortices of each, it is averaged over.
        lengths: how many lengths are tried, at quantiles of the prior.
        seed: of lenses and vortices.
        refitted: whether all parameters of lens and source are unknown; if not, only those that the preset varies.

    Raises:
        InputError: a preset without noise, or without vortices whose mass varies.
    """
    name = next((n for n, p in preset.populations.items() if isinstance(p, (Vortex, PublishedVortex))), None)
    if name is None:
        raise InputError(f"{preset.name} has no class with vortices, of which a mass could be measured")
    smooth = [Smooth(preset, seed, number, refitted) for number in range(lenses)]
    prior = np.quantile(_half_lengths(smooth[0], name), QUANTILES)
    if prior[0] == prior[-1]:
        raise InputError(f"{preset.name}: the mass of the axion never varies")
    tried = np.quantile(prior, np.linspace(0, 1, lengths))
    information = np.concatenate([one.length_information(name, torch.from_numpy(tried), vortices) for one in smooth])
    sigma = 1 / np.sqrt(np.maximum(information, 1e-12))
    # what is known of a short vortex goes with a power of its length
    of_each = [np.exp(np.interp(np.log(prior), np.log(tried), np.log(one))) for one in sigma]
    error = np.mean([_expected_errors(np.log10(prior), one) for one in of_each], axis=0)
    return MassFloor(prior, np.median(of_each, axis=0), error, float(error.mean()))


def _half_lengths(smooth: Smooth, name: str, draws: int = 4000) -> Array:
    return (HALF_LENGTH / smooth.draws(name, draws)["axion_mass_eV"]).numpy()


def _expected_errors(grid: Array, sigma: Array) -> Array:
    """Of the posterior's median, for a truth at each point of ``grid``, which are as probable as each other."""
    steps = np.diff(grid) * (1 / sigma[1:] + 1 / sigma[:-1]) / 2
    along = np.concatenate([[0.0], steps.cumsum()])
    measured = along[:, None] + NOISE  # (truth, noise)
    posterior = np.exp(-0.5 * np.square(measured[..., None] - along)).cumsum(-1)
    median = grid[(posterior >= posterior[..., -1:] / 2).argmax(-1)]
    return np.abs(median - grid[:, None]).mean(1)

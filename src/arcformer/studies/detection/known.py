"""What is known of test images beside their class: nuisances, properties of substructure, and where that is.

Of simulated images all that was drawn is known; of others what is seen in them, their flux and their peak.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.sim.deflectors import KINDS
from arcformer.studies.leaks import FEATURES

__all__ = ["NEAR", "STRONGEST", "located", "numbers_of", "substructure_mask"]

SEEN = ("log10 flux", "log10 peak")
"""Features of every image that are nuisances too."""

NO_NUMBERS = ("flux_zero", "flux_unit", "axion_mass_eV")
"""Extras that are no parameters, or a function of another one: the mass of the axion is the vortex's length."""

MASS, HEAVIEST, OFFSET = "substructure_mass", "heaviest_mass", "source_offset"

NEAR = 0.25
"""Arcsec: a cell of a map is near a deflector within this distance."""

STRONGEST = 0.01
"""The share of a map's cells that is looked at as its strongest."""

ALIKE = 0.9
"""Deflectors of at least this share of the heaviest one's mass count as the heaviest: a line of equal points is one."""


def numbers_of(batch: LensBatch, features: Tensor) -> dict[str, NDArray[np.float64]]:
    """One number an image (B,), by name; not a number where an image has no such thing.

    All that was drawn and has one value a lens, but for angles and counts; of substructure its mass and that of its
    heaviest part, Msun; of the source its distance from the lens, arcsec; flux and peak as they are seen.

    Args:
        batch: in physical units; targets are taken where there are no parameters.
        features: (B, F), its ``FEATURES``.
    """
    drawn = {
        name: value.double().cpu()
        for name, value in batch.extras.items()
        if value.ndim == 1 and not name.endswith(("angle", "_count", "_index", "_stamp")) and name not in NO_NUMBERS
    }
    if not drawn and batch.targets is not None:
        drawn = dict(zip(batch.target_names, batch.targets.double().cpu().T, strict=True))
    if "source_x" in drawn and "lens_x" in drawn:
        drawn[OFFSET] = torch.hypot(*(drawn[f"source_{axis}"] - drawn[f"lens_{axis}"] for axis in "xy"))
    masses = [_masses(batch.extras, kind.name) for kind in KINDS if f"{kind.name}_count" in batch.extras]
    if masses:
        there = torch.cat(masses, dim=1)
        some = (there > 0).any(1)
        drawn[MASS] = there.sum(1).masked_fill(~some, torch.nan)
        drawn[HEAVIEST] = there.amax(1).masked_fill(~some, torch.nan)
    seen = {name.replace(" ", "_"): features[:, FEATURES.index(name)].double().cpu() for name in SEEN}
    return {name: value.numpy() for name, value in (drawn | seen).items()}


def substructure_mask(extras: Mapping[str, Tensor], sides: tuple[int, int], pixel_scale: Tensor) -> Tensor | None:
    """Which cells (B, H, W) of a map are near the heaviest substructure of an image; None where that is not known.

    Args:
        extras: parameters as ``sim`` draws them; places count in arcsec from the middle of the image.
        sides: H and W.
        pixel_scale: (B,), of a cell, arcsec.
    """
    kinds = [kind.name for kind in KINDS if f"{kind.name}_count" in extras]
    if not kinds:
        return None
    height, width = sides
    scale = pixel_scale.double().cpu()[:, None, None]
    y = (torch.arange(height) - (height - 1) / 2)[:, None] * scale
    x = (torch.arange(width) - (width - 1) / 2) * scale
    masses = [_masses(extras, name) for name in kinds]
    heaviest = torch.cat(masses, dim=1).amax(1, keepdim=True)
    near = torch.zeros(len(scale), height, width, dtype=torch.bool)
    for name, mass in zip(kinds, masses, strict=True):
        counts = (mass > 0) & (mass >= ALIKE * heaviest)
        table = {column: extras[f"{name}_{column}"].double().cpu() for column in ("x", "y")}
        for column in ("half_length", "angle"):
            table[column] = extras.get(f"{name}_{column}", torch.zeros_like(table["x"])).double().cpu()
        for k in counts.any(0).nonzero()[:, 0].tolist():
            x0, y0, half, angle = (column[:, k, None, None] for column in table.values())
            dx, dy = x - x0, y - y0
            along = (dx * angle.cos() + dy * angle.sin()).clamp(-half, half)
            away = torch.hypot(dx - along * angle.cos(), dy - along * angle.sin())
            near |= (away <= NEAR) & counts[:, k, None, None]
    return near


def located(sigmas: NDArray, near: NDArray[np.bool_]) -> tuple[float, float]:
    """How well the strength (H, W) of a map says which cells are near something.

    Returns:
        The AUC of ``|sigmas|`` of the cells, and the share of the strongest of them that are near. Not a number where
        all cells are near, or none.
    """
    good = np.isfinite(sigmas)
    strength, inside = np.abs(sigmas[good]), near[good]
    positive, negative = int(inside.sum()), int((~inside).sum())
    if not positive or not negative:
        return float("nan"), float("nan")
    ranks = rankdata(strength)
    area = (ranks[inside].sum() - positive * (positive + 1) / 2) / (positive * negative)
    strongest = np.argpartition(strength, -max(1, round(STRONGEST * len(strength))))
    return float(area), float(inside[strongest[-max(1, round(STRONGEST * len(strength))) :]].mean())


def _masses(extras: Mapping[str, Tensor], kind: str) -> Tensor:
    """Of the deflectors of a kind, (B, N), Msun; zero for what only pads the table."""
    mass = extras[f"{kind}_mass"].double().cpu()
    absent = torch.arange(mass.shape[1]) >= extras[f"{kind}_count"].cpu()[:, None]
    return mass.masked_fill(absent, 0.0)

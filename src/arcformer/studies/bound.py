"""What can be known: how well any method could tell the classes of a preset apart, or measure its dark matter.

Around one lens and source the image is linear in everything that is small. With n the noise in units of its own
standard deviation, J the derivatives of the noise-free image with respect to the parameters of the smooth lens, and
d(s) the change of the image by a substructure s,

    image - expected = J p + d(s) + n.

A method that does not know p can use only what is left when the span of J is taken away (p is refitted). There, classes
differ by the distribution of d(s), for which simulated draws stand. The best statistic is the ratio of the likelihoods,
and its AUC the bound. It holds for whoever knows the family of lenses and sources; with less knowledge less is seen.

Errors of a vortex's parameters follow from Fisher's matrix with the prior added (van Trees 1968), f_sub's from the
posterior of a Gaussian whose covariance is proportional to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from arcformer.errors import InputError
from arcformer.metrics.intervals import Estimate, bootstrap, from_rows
from arcformer.randomness import stream
from arcformer.sim.preset import Preset
from arcformer.sim.render import clean_images, draw, draw_lens
from arcformer.sim.substructure import PublishedVortex, Vortex

__all__ = ["Bound", "Smooth", "information_bound"]

STEP = 1e-4
"""Of a parameter, for a derivative: of its own unit, or of its value where that is above 1."""

FISHER_STEP = 1e-3
"""Of what is measured of a vortex: arcsec, radians, dex."""

FAINT = 0.05
"""Modes in which no class moves an image by this many standard deviations, root mean square, say nothing."""

SPREADS = (1.0, 0.99, 0.95, 0.9, 0.75, 0.5, 0.25, 0.0)
"""How much of the distribution of d(s) is in the draws themselves; the rest is a Gaussian about each (West 1993)."""

DERIVED = ("magnitude", "halo_mass", "exposure", "colour", "core")
"""Ends of names of parameters of which others are made, or that an observer knows."""


@dataclass(frozen=True)
class Bound:
    """What the best method could reach.

    Attributes:
        pairs: AUC for each pair of classes, all lenses pooled; the interval is over lenses.
        errors: mean absolute error of measured quantities, by name; the interval is over lenses.
        modes: how many modes of the images tell the classes apart, mean over the lenses.
    """

    pairs: dict[tuple[str, str], Estimate]
    errors: dict[str, Estimate]
    modes: float


def information_bound(
    preset: Preset,
    *,
    lenses: int = 12,
    draws: int = 400,
    seed: int = 0,
    refitted: bool = True,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Bound:
    """The bound of a preset.

    Args:
        preset: one with noise, and with a class without substructure first.
        lenses: how many smooth lenses it is averaged over.
        draws: substructures of each class for each lens; half of them stand for the distribution, half are judged.
        seed: of lenses, substructures and noise.
        refitted: whether all parameters of lens and source are unknown; if not, only those that the preset varies.
        progress: wraps the numbers of the lenses.

    Raises:
        InputError: a preset without noise, of which everything can be known, or with fewer than two classes.
    """
    if len(preset.classes) < 2:
        raise InputError(f"{preset.name} has one class; a bound needs two to tell apart")
    ratios = {pair: [] for pair in combinations(range(len(preset.classes)), 2)}
    errors: dict[str, list[NDArray[np.float64]]] = {}
    modes = []
    for number in progress(range(lenses)):
        smooth = Smooth(preset, seed, number, refitted)
        changes = [smooth.changes(name, draws) for name in preset.classes]
        basis = _modes(torch.cat([change[: draws // 2] for change in changes]))
        modes.append(basis.shape[1])
        noise = stream(seed, "bound", number, "noise")
        known, judged = [], []
        for change in changes:
            first, second = (change @ basis).split([draws // 2, draws - draws // 2])
            known.append(_Mixture(first, noise))
            judged.append(second + torch.randn(second.shape, generator=noise, dtype=second.dtype))
        for (a, b), found in ratios.items():
            found.append([(known[b].log_density(judged[k]) - known[a].log_density(judged[k])).numpy() for k in (a, b)])
        for name, error in (smooth.f_sub_error(changes, basis, noise) | smooth.vortex_errors()).items():
            errors.setdefault(name, []).append(error)
    names = preset.classes
    return Bound(
        {(names[a], names[b]): _auc(found, seed) for (a, b), found in ratios.items()},
        {name: _mean(found, seed) for name, found in errors.items()},
        float(np.mean(modes)),
    )


class Smooth:
    """One smooth lens of a preset as it is observed, and what of a change of its image is left when it is refitted.

    Args:
        preset: one with noise.
        seed, number: of the lens.
        refitted: as for ``information_bound``.

    Raises:
        InputError: a preset without noise.
    """

    def __init__(self, preset: Preset, seed: int, number: int, refitted: bool):
        self.preset, self.seed, self.names = preset, seed, ("bound", number)
        self.drawn: dict[str, dict[str, Tensor]] = {}
        self.lens = draw_lens(preset, torch.tensor([0]), seed, *self.names)
        self.exposure = {name: p for name, p in self.lens.items() if name == "exposure"}
        noise = preset.instrument.noise
        clean = self._clean(self.lens)
        self.std = noise.std(clean, self.exposure)
        if not bool((self.std > 0).all()):
            raise InputError(f"{preset.name} is without noise: all that differs can be told apart")
        unknown = self._unknown(refitted)
        columns = self._derivatives(self.lens, unknown)
        lengths = columns.norm(dim=0)
        kept = columns[:, lengths > 1e-6 * lengths.max()] if len(unknown) else columns
        # directions that only rounding tells apart would take away noise
        left, singular, _ = torch.linalg.svd(kept / kept.norm(dim=0), full_matrices=False)
        self.spanned = left[:, singular > 1e-5 * singular[:1]]

    def changes(self, name: str, draws: int) -> Tensor:
        """Draws of a class's substructure as changes of the whitened image, (draws, P), float64."""
        self.drawn[name] = self.draws(name, draws)
        return self.changed(self.drawn[name])

    def draws(self, name: str, draws: int) -> dict[str, Tensor]:
        """Parameters of the lens with draws of a class's substructure, (draws, ...) each."""
        labels = torch.full((draws,), self.preset.classes.index(name))
        return draw(self.preset, labels, self.seed, *self.names, name, lens=self.lens)

    def changed(self, parameters: dict[str, Tensor]) -> Tensor:
        """Changes of the whitened image by what is in these parameters beside the smooth lens, (B, P), float64."""
        smooth = {key: value.repeat(2, *[1] * (value.ndim - 1)) for key, value in self.lens.items()}
        # both by the same renderer, so that its rounding cancels
        images = self._white(clean_images(self.preset, parameters) - clean_images(self.preset, smooth)[:1])
        return self._left(images)

    def f_sub_error(self, changes: list[Tensor], basis: Tensor, noise: torch.Generator) -> dict[str, NDArray]:
        """Absolute errors of log10 f_sub, where a class has it: of the median of its posterior, in dex."""
        for name, change in zip(self.preset.classes, changes, strict=True):
            f_sub = self.drawn[name].get("f_sub")
            if f_sub is None or bool(f_sub.isnan().any()) or bool(f_sub.min() == f_sub.max()):
                continue
            half = len(change) // 2
            y = change @ basis
            unit = y[:half] / f_sub[:half, None].sqrt()
            covariance = unit.mT @ unit / half
            values, vectors = torch.linalg.eigh(covariance)
            z = (y[half:] + torch.randn(y[half:].shape, generator=noise, dtype=y.dtype)) @ vectors
            low, high = float(f_sub.min().log10()), float(f_sub.max().log10())
            grid = torch.linspace(low, high, 200, dtype=y.dtype)
            variance = 1 + 10 ** grid[:, None] * values.clamp(min=0)
            fit = -0.5 * (variance.log().sum(1) + (z[:, None].square() / variance).sum(2))
            posterior = (fit - fit.amax(1, keepdim=True)).exp().cumsum(1)
            median = grid[(posterior >= posterior[:, -1:] / 2).double().argmax(1)]
            return {"log10_f_sub": (median - f_sub[half:].log10()).abs().numpy()}
        return {}

    def vortex_errors(self, examples: int = 24) -> dict[str, NDArray]:
        """Expected absolute errors of what a vortex has in logarithms, in dex, where a class has vortices."""
        for name, population in self.preset.populations.items():
            if not isinstance(population, (Vortex, PublishedVortex)):
                continue
            drawn = self.drawn[name]
            known = population.measurable(drawn)
            prior = torch.stack(list(known.values())).std(1)
            free = [key for key, width in zip(known, prior, strict=True) if width > 0]
            precision = prior[prior > 0] ** -2
            errors = []
            for row in range(min(examples, len(drawn["theta_E"]))):
                truth = {key: value[row : row + 1] for key, value in known.items()}
                tables = []
                for key in free:
                    for step in (FISHER_STEP, -FISHER_STEP):
                        tables.append(population.rebuilt(truth | {key: truth[key] + step}))
                changed = {key: torch.cat([table[key] for table in tables]) for key in tables[0]}
                images = self._clean(
                    {key: p.repeat(len(tables), *[1] * (p.ndim - 1)) for key, p in self.lens.items()}
                    | self.sized(changed)
                )
                slopes = self._left(self._white(images[0::2] - images[1::2]) / (2 * FISHER_STEP))
                errors.append(torch.linalg.inv(slopes @ slopes.mT + precision.diag()).diagonal().sqrt())
            expected = torch.stack(errors) * math.sqrt(2 / math.pi)
            return {key: expected[:, k].numpy() for k, key in enumerate(free) if key.startswith("log10")}
        return {}

    def sized(self, tables: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tables with the Einstein radii of the masses in them."""
        masses = {key: value for key, value in tables.items() if key.endswith("_mass")}
        unit = self.preset.geometry.unit_einstein_radius
        return tables | {key.replace("_mass", "_theta_E"): unit * mass.sqrt() for key, mass in masses.items()}

    def _clean(self, parameters: dict[str, Tensor]) -> Tensor:
        return clean_images(self.preset, parameters, dtype=torch.float64, compiled=False)

    def _white(self, difference: Tensor) -> Tensor:
        """A difference of noise-free images in standard deviations, (B, P)."""
        exposure = {name: p.expand(len(difference)) for name, p in self.exposure.items()}
        return (self.preset.instrument.noise.mean(difference.double(), exposure) / self.std).flatten(1)

    def _left(self, changes: Tensor) -> Tensor:
        """What is left of changes (B, P) when the smooth lens is refitted."""
        return changes - (changes @ self.spanned) @ self.spanned.mT

    def _unknown(self, refitted: bool) -> list[tuple[str, int]]:
        """Parameters of the smooth lens, by name and column, that are to be refitted."""
        others = draw_lens(self.preset, torch.zeros(64, dtype=torch.int64), self.seed, *self.names, "others")
        names = [n for n, p in others.items() if p.is_floating_point() and not n.endswith(DERIVED)]
        columns = [(n, k) for n in names for k in range(others[n][0].numel())]
        return [(n, k) for n, k in columns if refitted or float(others[n].reshape(64, -1)[:, k].std()) > 0]

    def _derivatives(self, lens: dict[str, Tensor], unknown: list[tuple[str, int]]) -> Tensor:
        """Of the whitened image, (P, K)."""
        columns = []
        for name, k in unknown:
            step = STEP * max(1.0, float(lens[name].flatten()[k].abs()))
            pair = []
            for sign in (1, -1):
                moved = lens[name].clone()
                moved.view(-1)[k] += sign * step
                pair.append(self._clean(lens | {name: moved}))
            columns.append(self._white(pair[0] - pair[1])[0] / (2 * step))
        return torch.stack(columns, dim=1) if columns else torch.zeros(self.std.numel(), 0, dtype=torch.float64)


class _Mixture:
    """The distribution of noisy images of a class, from draws without noise (K, M): a Gaussian about each, and noise.

    Draws are pulled to their mean and the Gaussians widened for it, so that mean and covariance stay those of all.
    By how much is decided by noisy copies of each draw and the likelihood of all others.
    """

    def __init__(self, draws: Tensor, noise: torch.Generator):
        self.draws, self.mean = draws, draws.mean(0)
        self.covariance = (draws - self.mean).mT @ (draws - self.mean) / len(draws)
        noisy = draws + torch.randn(draws.shape, generator=noise, dtype=draws.dtype)
        self.share = max(SPREADS, key=lambda share: float(self._density(noisy, share, leave_out=True).sum()))

    def log_density(self, images: Tensor) -> Tensor:
        """Of noisy images (N, M), up to what is the same for all classes."""
        return self._density(images, self.share)

    def _density(self, images: Tensor, share: float, leave_out: bool = False) -> Tensor:
        spread = (1 - share**2) * self.covariance + torch.eye(len(self.mean), dtype=self.mean.dtype)
        factor = torch.linalg.cholesky(spread)
        centres = self.mean + share * (self.draws - self.mean)
        white = [torch.linalg.solve_triangular(factor, x.mT, upper=False).mT for x in (images, centres)]
        exponents = -0.5 * torch.cdist(*white).square() - factor.diagonal().log().sum()
        if leave_out:
            exponents.fill_diagonal_(-torch.inf)
        return exponents.logsumexp(1) - math.log(len(self.draws))


def _modes(changes: Tensor) -> Tensor:
    """Directions (P, M) in which changes (K, P) are not small beside the noise."""
    values, vectors = torch.linalg.eigh(changes @ changes.mT / len(changes))
    kept = values > FAINT**2
    if not bool(kept.any()):
        kept[-1] = True
    return changes.mT @ vectors[:, kept] / (values[kept].clamp(min=1e-12) * len(changes)).sqrt()


def _auc(ratios: list[list[NDArray[np.float64]]], seed: int) -> Estimate:
    """Of likelihood ratios of images of the first and of the second class, for each lens; the interval over lenses."""
    first, second = (np.stack([pair[k] for pair in ratios]) for k in (0, 1))

    def pooled(a: NDArray, b: NDArray) -> float:
        return float(roc_auc_score([0] * a.size + [1] * b.size, np.concatenate([a.ravel(), b.ravel()])))

    return bootstrap(from_rows(pooled, first, second), len(first), seed=seed, resamples=200)["metric"]


def _mean(errors: list[NDArray[np.float64]], seed: int) -> Estimate:
    each = np.array([error.mean() for error in errors])
    return bootstrap(from_rows(np.mean, each), len(each), seed=seed, resamples=200)["metric"]

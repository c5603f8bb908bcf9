"""What many lenses say together of a number that they share, or that is scattered among them.

A network trained on lenses drawn from a prior p gives each lens i a posterior q(t | d_i) ~ p(t) L_i(t). For N lenses
the prior must count once and not N times, so it is divided out,

    L_i(t) ~ q(t | d_i) / p(t),        p(t | d_1 .. d_N) ~ p(t) prod_i L_i(t)

for a t that all share (``shared``), and for one that is scattered among lenses as a Gaussian of mean m and spread s,

    p(m, s | d_1 .. d_N) ~ p(m, s) prod_i int N(t; m, s) L_i(t) dt

(``scattered``; Hogg, Myers & Bovy 2010, arXiv 1008.4686, eq. 5 to 8; for lenses Wagner-Carena et al. 2021, arXiv
2010.13787, and 2023, arXiv 2203.00690). The integral is over a grid, not over samples as there: the density of the
network is known, and an error of the density estimated from samples would be multiplied with N.

The grid is one of shares of the prior, u = sin^2(pi x / 2) with x even from 0 to 1, denser towards the ends, where the
tails of a prior are. In u the prior is flat, so that L_i is the density of q there, whatever the unit, and the same
grid does for a number and for its logarithm. N lenses, G places on the grid, B images, P targets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.integrate import trapezoid
from scipy.interpolate import CubicSpline
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.errors import InputError, near
from arcformer.metrics import tails
from arcformer.randomness import stream
from arcformer.sim.priors import Prior
from arcformer.tasks import Estimator

__all__ = ["Density", "Ratios", "log_ratios", "scattered", "shared"]

GRID = 512

OTHERS = 16
"""At so many samples of the other targets is the density of one looked up, and the mean over them taken."""

SAMPLES = 4096
"""They are chosen among so many, others for each lens: an error that all lenses had in common would not average out."""

ROWS = 8192
"""At so many places the density of a network is asked for at once."""

LOWEST = -1e5
"""Logarithms below this are as good as minus infinity, and can be interpolated."""

DEEP = 40.0
"""A density is looked at where its logarithm is by less than this below its peak."""


@dataclass(frozen=True)
class Density:
    """A density of one number: ``values`` (F,), ascending, and ``density`` (F,) there, which integrates to one."""

    values: NDArray[np.float64]
    density: NDArray[np.float64]

    @classmethod
    def of(cls, values: Tensor, log: Tensor) -> Density:
        """From its logarithm (F,) up to a constant."""
        density = (log - log.max()).exp().numpy()
        return cls(values.numpy(), density / trapezoid(density, values.numpy()))

    @property
    def mean(self) -> float:
        return float(trapezoid(self.values * self.density, self.values))

    @property
    def std(self) -> float:
        return float(trapezoid((self.values - self.mean) ** 2 * self.density, self.values)) ** 0.5

    def quantile(self, share: float) -> float:
        """The value below which ``share`` of it lies."""
        steps = np.diff(self.values) * (self.density[1:] + self.density[:-1]) / 2
        below = np.concatenate([[0.0], np.cumsum(steps)])
        return float(np.interp(share * below[-1], below, self.values))

    def interval(self, level: float) -> tuple[float, float]:
        """Ends of the central interval that holds ``level`` of it."""
        below, above = tails(level)
        return self.quantile(below), self.quantile(above)


@dataclass(frozen=True)
class Ratios:
    """The likelihoods of N lenses on a grid.

    Attributes:
        prior: of the parameter in training.
        log: (N, G) float64, log L_i, each up to a constant.
    """

    prior: Prior
    log: Tensor

    @classmethod
    def of(cls, prior: Prior, log_likelihood: Callable[[Tensor], Tensor], grid: int = GRID) -> Ratios:
        """From a function of values (G,) to (N, G), of lenses of which the likelihood is known."""
        return cls(prior, log_likelihood(prior.quantile(_shares(grid))))

    def __len__(self) -> int:
        return len(self.log)

    @property
    def values(self) -> Tensor:
        """(G,), the parameter on the grid."""
        return self.prior.quantile(_shares(self.log.shape[1]))

    @property
    def posteriors(self) -> list[Density]:
        """That of each lens alone."""
        return [Density.of(self.values, one + self.prior.log_prob(self.values)) for one in self.log]

    @property
    def narrow(self) -> Tensor:
        """(N,), the lenses whose likelihood lies on fewer than three places of the grid, by its entropy."""
        log = self.log.log_softmax(1)
        return -(log.exp() * log).sum(1) < np.log(3)

    @classmethod
    def cat(cls, parts: Sequence[Ratios]) -> Ratios:
        """Those of some lenses and of others, of one parameter on one grid."""
        return replace(parts[0], log=torch.cat([part.log for part in parts]))

    def __getitem__(self, rows: slice) -> Ratios:
        return replace(self, log=self.log[rows])


@torch.no_grad()
def log_ratios(
    task: Estimator,
    batch: LensBatch,
    target: str,
    prior: Prior,
    *,
    grid: int = GRID,
    others: int = OTHERS,
    seed: int = 0,
) -> Ratios:
    """The likelihood of a parameter for each image, by the posterior of a task with its prior divided out.

    Of a task with one target it is exact. Of one with more, the density of ``target`` alone is the mean over posterior
    samples of the others of its density given these, which has the tails that an estimate from samples lacks.

    Args:
        task: as ``Regress`` is one.
        batch: as the run's transform gives it.
        target: one of its targets, which all these lenses have: of subhalos only where there are some.
        prior: that it was drawn from in training, in the unit of the target.
        grid: G.
        others: at how many samples of the other targets.
        seed: of their choice, which depends on the name of an image in ``batch.ids`` too.

    Raises:
        InputError: the task has no such target, or its density is not a number.
    """
    names = tuple(task.targets)
    if target not in names:
        raise InputError(f"the run does not estimate {target!r}; {near(target, names)}")
    column = names.index(target)
    prediction = task.predict(batch)
    # every place of the grid takes a row of the prediction: without hundreds of samples, which no density depends on
    light = replace(prediction, samples=prediction.samples[:, :1])
    given = light.samples if len(names) == 1 else _conditions(task, batch, others, seed)
    values = prior.quantile(_shares(grid))
    log_prior = prior.log_prob(values)
    found = [
        _marginal(task, light.map(lambda t, b=b: t[b : b + 1]), given[b], column, values) - log_prior
        for b in range(len(batch))
    ]
    found = torch.stack(found)  # (B, K, G), each to be a density in shares of the prior, and then their mean
    total = (found + torch.gradient(_shares(grid))[0].log()).logsumexp(2, keepdim=True)
    log = (found - total).logsumexp(1)
    for row in log.isnan().any(1).nonzero()[:1, 0].tolist():
        name = batch.ids[row] if batch.ids else f"image {row}"
        raise InputError(f"{name}: the density of {target} is not a number")
    return Ratios(prior, log.clamp(min=LOWEST))


def shared(ratios: Ratios) -> Density:
    """The posterior of a parameter that all lenses share, under the prior of training."""
    total = ratios.log.sum(0).numpy()
    places = _places(len(total)).numpy()
    curve = CubicSpline(places, total - total.max())
    fine = np.linspace(places[0], places[-1], 16 * len(places))
    inside = fine[curve(fine) > curve(fine).max() - DEEP]
    fine = np.linspace(inside[0], inside[-1], 4096)
    values = ratios.prior.quantile(_share(torch.from_numpy(fine)))
    return Density.of(values, torch.from_numpy(curve(fine)) + ratios.prior.log_prob(values))


def scattered(ratios: Ratios, *, means: int = 64, spreads: int = 48) -> tuple[Density, Density]:
    """The posteriors of mean and spread of a parameter that is scattered among lenses as a Gaussian.

    The Gaussian is cut at the ends of the prior of training: of what lies beyond, the network knows nothing. The mean
    has that prior too, and the spread is uniform from a cell of the grid to half of all its values (Gelman 2006,
    Bayesian Anal. 1, 515).

    Args:
        ratios: of the lenses.
        means, spreads: how many of each are tried. It is done three times, each time closer to what was found.
    """
    values = ratios.values.numpy()
    cells = np.gradient(values)
    likelihoods = (ratios.log - ratios.log.amax(1, keepdim=True)).exp().numpy()
    m = np.linspace(values[0], values[-1], means)
    s = np.linspace(1.5 * np.median(cells), (values[-1] - values[0]) / 2, spreads)
    log = np.zeros((means, spreads))
    for last in (False, False, True):
        distance = (values[None, None] - m[:, None, None]) / s[None, :, None]
        weights = np.exp(-(distance**2) / 2 + (distance**2).min(2, keepdims=True) / 2) * cells
        weights /= weights.sum(2, keepdims=True)
        seen = likelihoods @ weights.reshape(-1, len(values)).T
        log = np.log(seen.clip(min=1e-300)).sum(0).reshape(means, spreads)
        log += ratios.prior.log_prob(torch.from_numpy(m).clamp(values[0], values[-1])).numpy()[:, None]
        log -= log.max()
        if not last:
            m, s = _closer(m, log.max(1)), _closer(s, log.max(0))
    by_mean = trapezoid(np.exp(log), s, axis=1)
    by_spread = trapezoid(np.exp(log), m, axis=0)
    return Density(m, by_mean / trapezoid(by_mean, m)), Density(s, by_spread / trapezoid(by_spread, s))


def _places(grid: int) -> Tensor:
    return (torch.arange(grid, dtype=torch.float64) + 0.5) / grid


def _share(places: Tensor) -> Tensor:
    return (torch.pi / 2 * places).sin() ** 2


def _shares(grid: int) -> Tensor:
    return _share(_places(grid))


def _conditions(task: Estimator, batch: LensBatch, count: int, seed: int) -> Tensor:
    """Posterior samples (B, count, P), chosen anew for each image."""
    samples = task.posterior(batch, SAMPLES)
    names = batch.ids or tuple(map(str, range(len(batch))))
    rows = [torch.randperm(samples.shape[1], generator=stream(seed, "others", name))[:count] for name in names]
    return torch.stack([own[row.to(own.device)] for own, row in zip(samples, rows, strict=True)])


def _marginal(task: Estimator, prediction: Any, given: Tensor, column: int, values: Tensor) -> Tensor:
    """Log density (K, G) of one image's target with the others as in ``given`` (K, P), up to a constant for each."""
    places = given[:, None].repeat(1, len(values), 1)
    places[..., column] = values.to(places)
    found = [task.log_prob(_repeated(prediction, len(part)), part) for part in places.flatten(0, 1).split(ROWS)]
    return torch.cat(found).double().cpu().view(len(given), len(values))


def _repeated(prediction: Any, count: int) -> Any:
    return prediction.map(lambda tensor: tensor.expand(count, *tensor.shape[1:]))


def _closer(grid: NDArray[np.float64], log: NDArray[np.float64]) -> NDArray[np.float64]:
    """A grid of as many places over the part of another that matters."""
    inside = (log > -DEEP / 2).nonzero()[0]
    return np.linspace(grid[max(inside[0] - 1, 0)], grid[min(inside[-1] + 1, len(grid) - 1)], len(grid))

"""How far a predicted image is from the true one, in units of the noise."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.errors import InputError, near

__all__ = ["Misfit", "check_misfit", "misfit"]

Misfit = Literal["chi2", "mse"]


def misfit(found: Tensor, true: Tensor, batch: LensBatch, loss: Misfit, where: Tensor | None = None) -> Tensor:
    """The mean over good pixels of the squared residual of each image, (B,).

    ``chi2``: of the residual over the noise, 1 for a perfect prediction of a noisy image. Networks see a scaled image,
    f(x) for a flux x; ``data/transforms.py`` brings the noise along as f'(x) sigma, so that the ratio of the two is the
    same as for fluxes, to first order. Where asinh compresses, the noise is small, and bright arcs count by what is
    known of them and not by what is left of them; sky counts as sky. Without ``noise_std`` in the batch, as for files
    that do not state it, and at pixels without noise the residual counts as it is.

    ``mse``: as it is everywhere.

    Args:
        found, true: (B, C, H, W), in the range of the transform.
        batch: its ``noise_std``, and its ``mask`` of bad pixels, which do not count.
        where: (B, 1, H, W) or (B, C, H, W), the pixels that count; None: all.
    """
    residual = found.float() - true.float()
    if loss == "chi2" and batch.noise_std is not None:
        residual = residual / torch.where(batch.noise_std > 0, batch.noise_std, 1.0)
    counts = torch.ones_like(residual) if where is None else where.expand_as(residual).float()
    if batch.mask is not None:
        counts = counts * ~batch.mask
    return (residual.square() * counts).flatten(1).sum(1) / counts.flatten(1).sum(1).clamp_min(1)


def check_misfit(loss: str) -> None:
    """Raise ``InputError`` unless there is such a loss."""
    if loss not in get_args(Misfit):
        raise InputError(f"unknown loss {loss!r}: {near(loss, get_args(Misfit))}")

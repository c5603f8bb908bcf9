"""Low-rank adaptation (LoRA; Hu et al. 2021, arXiv 2106.09685): a trained backbone learns a small correction.

The backbone is frozen, and each of its matrices W (d x k) is seen as

    W + alpha / r  B A,    B (d x r) zero at the beginning, A (r x k) drawn from a normal distribution,        (eq. 3)

so that r (d + k) numbers are trained in place of d k. Merged, the sum is put in the place of W, and the network is what
it was before, at the same cost and with the same names in its state. The sum is formed anew in each pass and then used
as any weight is, so it does not matter how a layer computes with it; what is saved is the state of the optimiser and
the gradients that are kept, exchanged and averaged, not time.
"""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, register_parametrization, remove_parametrizations

from arcformer.errors import InputError, near

__all__ = ["LowRank", "inject", "merge"]


class LowRank(nn.Module):
    """A parametrisation: W to W + alpha / r B A. Kernels (d, c, h, w) are matrices of d x c h w.

    A of k columns has a variance of 1 / k, so that A x is of the order of x.

    Args:
        weight: W, for its shape, device and type.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float):
        super().__init__()
        self.scale = alpha / rank
        rows, columns = _shape(weight)
        self.A = nn.Parameter(weight.new_empty(rank, columns).normal_(std=columns**-0.5))
        self.B = nn.Parameter(weight.new_zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """W (d, ...) to the same shape, in its own precision."""
        with torch.autocast(weight.device.type, enabled=False):
            return torch.addmm(weight.flatten(1), self.B, self.A, alpha=self.scale).view_as(weight)


def inject(backbone: nn.Module, rank: int, alpha: float | None = None, targets: Sequence[str] = ("*",)) -> None:
    """Freeze ``backbone``, in place, and let it learn corrections of low rank; at first it gives what it gave before.

    Adapted are the matrices that have more than ``rank`` rows and columns: of linear maps (those of a group too), of
    attention, and of convolutions that are not grouped. What is frozen already or shared by modules is left alone.

    Args:
        rank: r of the module's docstring.
        alpha: ``rank`` by default, for a factor of one.
        targets: shell patterns of names of modules, as ``*.attention.*``; those that match one are adapted.

    Raises:
        InputError: for a rank or an alpha that is not positive, a pattern that matches no matrix, or a network that
            has no matrix of more rows and columns than ``rank``; the network is then left as it was.
    """
    if rank < 1 or (alpha is not None and alpha <= 0):
        raise InputError(f"LoRA: rank and alpha must be positive, got {rank=}, {alpha=}")
    matrices = _matrices(backbone)
    if not matrices:
        raise InputError(f"LoRA: {type(backbone).__name__} has no matrix that could be adapted; train it whole")
    for pattern in targets:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in matrices):
            known = {re.sub(r"\b\d+\b", "*", name) for name in matrices}
            raise InputError(f"LoRA: {pattern!r} matches no module with a matrix; {near(pattern, known)}")
    chosen = [matrices[name] for name in matrices if any(fnmatch.fnmatchcase(name, pattern) for pattern in targets)]
    largest = max((min(_shape(getattr(*place))) for place in chosen), default=0)
    if rank >= largest:
        raise InputError(
            f"LoRA: rank {rank} is no low rank for matrices of at most {largest} rows or columns; lower it, choose "
            "others, or train the backbone whole"
        )
    backbone.requires_grad_(False)
    for module, kind in chosen:
        weight = getattr(module, kind)
        if rank < min(_shape(weight)):
            register_parametrization(module, kind, LowRank(weight, rank, rank if alpha is None else alpha))


def merge(network: nn.Module) -> None:
    """Put each sum where its matrix was, in place: nothing is left of the adaptation, also in the names of the state.

    What is frozen stays so. Without an adaptation nothing happens.
    """
    for module in list(network.modules()):
        if not is_parametrized(module):
            continue
        # A copy shares the class of its original, from which torch takes away the property: from one of its own, then.
        shared = type(module)
        module.__class__ = type(shared.__name__, shared.__bases__, dict(vars(shared)))  # type: ignore
        for kind, parts in list(module.parametrizations.items()):  # type: ignore
            if any(isinstance(part, LowRank) for part in parts):
                remove_parametrizations(module, kind)


def _matrices(backbone: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """By the name of its module: module and parameter of every matrix that is trained and belongs to it alone."""
    count = Counter(id(parameter) for _, parameter in backbone.named_parameters(remove_duplicate=False))
    found = {}
    for name, module in backbone.named_modules():
        kind = "in_proj_weight" if isinstance(module, nn.MultiheadAttention) else "weight"
        weight = dict(module.named_parameters(recurse=False)).get(kind)
        if weight is None or not weight.requires_grad or count[id(weight)] > 1:
            continue
        if isinstance(module, nn.Linear | nn.MultiheadAttention | nn.Conv2d) and getattr(module, "groups", 1) == 1:
            found[name] = (module, kind)
    return found


def _shape(weight: Tensor) -> tuple[int, int]:
    """Rows and columns of a matrix or a kernel."""
    return weight.shape[0], weight[0].numel()

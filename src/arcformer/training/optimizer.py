"""What moves the weights: AdamW, or Muon for the matrices inside the network and AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

from arcformer.models.depth import depths
from arcformer.tasks import Task
from arcformer.training.recipe import TrainingSection

__all__ = ["Joint", "optimizer"]


class Joint(Optimizer):
    """Several optimisers, each with parameters of its own, as one: for schedules, resume files and training loops.

    >>> Joint(Muon(matrices, lr=1e-3), AdamW(others, lr=1e-3))
    """

    def __init__(self, *parts: Optimizer):
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """The parts work on the state and the groups of the whole, so that either is there once."""
        groups = iter(self.param_groups)
        for part in self.parts:
            part.state, part.param_groups = self.state, [next(groups) for _ in part.param_groups]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of each."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss


def optimizer(task: Task, training: TrainingSection) -> Optimizer:
    """The optimiser of ``training.optimizer``, on the parameters that take a gradient.

    ``adamw`` (Loshchilov & Hutter 2019, arXiv 1711.05101): parameters of one dimension (biases, norms) do not decay.
    ``muon`` (Jordan et al. 2024; Liu et al. 2025, arXiv 2502.16982): the weights of the backbone's linear maps follow
    their momentum made orthogonal, scaled so that a step is as large as one of AdamW at the same rate; AdamW moves the
    rest: stem, positions, norms, biases, heads, and the factors of corrections of low rank (``models/lora.py``).
    Under either, ``training.layer_decay`` lowers the rates of the backbone towards the image (``models/depth.py``).
    """
    trained = [parameter for parameter in task.parameters() if parameter.requires_grad]
    matrices = _matrices(task.backbone) if training.optimizer == "muon" else []
    others = {id(parameter) for parameter in trained} - {id(parameter) for parameter in matrices}
    trained = [parameter for parameter in trained if id(parameter) in others]
    levels = depths(task.backbone) if training.layer_decay < 1 else {}

    def groups(parameters: Iterable[Tensor]) -> list[dict[str, Any]]:
        """Parameters with the same decay and rate together."""
        found: dict[tuple[float, float], list[Tensor]] = {}
        for parameter in parameters:
            decay = training.weight_decay if parameter.ndim > 1 else 0.0
            rate = training.rate * training.layer_decay ** levels.get(id(parameter), 0)
            found.setdefault((decay, rate), []).append(parameter)
        return [{"params": those, "weight_decay": decay, "lr": rate} for (decay, rate), those in found.items()]

    parts: list[Optimizer] = []
    if matrices:
        parts.append(Muon(groups(matrices), training.rate, training.weight_decay, adjust_lr_fn="match_rms_adamw"))
    if trained:
        parts.append(AdamW(groups(trained), training.rate, training.betas, fused=True))
    return parts[0] if len(parts) == 1 else Joint(*parts)


def _matrices(backbone: nn.Module) -> list[Tensor]:
    """The weights of linear maps inside a backbone, those that are trained."""
    weights = [m._parameters.get("weight") for m in backbone.modules() if isinstance(m, nn.Linear)]
    return [weight for weight in weights if weight is not None and weight.requires_grad]

"""Pretrained weights for another number of channels: added up, which is the same as showing the image in each."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

__all__ = ["change_channels", "rechannelled"]


def rechannelled(trained: nn.Module, cls: Any, config: Any, options: dict[str, Any]) -> nn.Module:
    """A network of ``config`` with the weights of ``trained``, which may be for another number of channels."""
    network, state = cls(config, **options), trained.state_dict()
    for name, tensor in network.state_dict().items():
        given = state[name]
        if given.ndim == tensor.ndim == 4 and given.shape[:1] + given.shape[2:] == tensor.shape[:1] + tensor.shape[2:]:
            state[name] = given if given.shape == tensor.shape else spread(given, tensor.shape[1])
    network.load_state_dict(state)
    return network


def change_channels(network: nn.Module, channels: int) -> None:
    """Make the first convolution of ``network`` one for ``channels``, in place."""
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is not None and first.in_channels != channels and first.groups == 1:
        first.weight = nn.Parameter(spread(first.weight.detach(), channels))
        first.in_channels = channels


def spread(weight: Tensor, channels: int) -> Tensor:
    """Weights (D, C, ...) of a convolution for another number of channels, that sees as much in as many of them."""
    mean = weight.mean(1, keepdim=True) * (weight.shape[1] / channels)
    return mean.expand(-1, channels, *weight.shape[2:]).contiguous()

"""What attends to what: weights of attention, recorded while images are looked at, and traced back to the image.

Networks here and elsewhere attend through torch's fused ``scaled_dot_product_attention``, which keeps no weights.
``recorded`` stands between, whoever calls it, and can tell them afterwards. From them follows the roll-out (Abnar &
Zuidema 2020, arXiv 2005.00928): how much of each cell of the image is in the mean of the last map,

    r = 1/N 1^T A'_L ... A'_2 A'_1,    A' = (A + 1) / 2,    A = mean over heads of softmax(q k^T / sqrt(E) + mask),

worked out from the left, so that it takes no product of two matrices. Around attention, this is what is assumed: a sum
counts its terms alike (hence the half for the residual), a merging or a convolution counts the cells that it sees
alike, and what acts on each token by itself changes nothing. So it is about what may have flowed where, and about no
class.

Where the layers are square and all alike they are taken to be among the cells of the last map, behind tokens that
belong to no cell. A backbone whose attention lies otherwise, in windows, branches or stages, says how in its own words
(``Traceable``). Token norms are lengths of tokens before the norm that ends a network: behind it all are alike.

Shapes: B images, K heads of width E, N queries, M keys, a grid of h x w cells, M windows of n cells in ``within``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from arcformer.errors import InputError
from arcformer.models.backbone import Backbone, FeatureMap

__all__ = [
    "Attended",
    "NotDefined",
    "Record",
    "Traceable",
    "attended",
    "averaged",
    "evenly",
    "painted",
    "recorded",
    "rollout",
    "through",
    "token_norms",
    "within",
]


class NotDefined(InputError):
    """A network has no such map; the text says why."""


@dataclass(frozen=True, eq=False)
class Attended:
    """One call of ``scaled_dot_product_attention``; weights are worked out when they are asked for.

    Attributes:
        q: queries, (B, K, N, E).
        k: keys, (B, K, M, E).
        options: mask, scale and the like, by the names of torch.
    """

    q: Tensor
    k: Tensor
    options: dict[str, Any]

    @property
    def weights(self) -> Tensor:
        """(B, K, N, M), each row adding up to one: what attention makes of the unit matrix as values."""
        count = self.k.shape[-2]
        unit = torch.eye(count, dtype=self.k.dtype, device=self.k.device)
        return F.scaled_dot_product_attention(
            self.q, self.k, unit.expand(*self.k.shape[:-2], count, count), **self.options
        )


@dataclass
class Record:
    """What happened inside a network.

    Attributes:
        layers: its calls of attention, in their order.
        norms: what went into each of its layer norms and what came out.
    """

    layers: list[Attended] = field(default_factory=list)
    norms: list[tuple[Tensor, Tensor]] = field(default_factory=list)


@contextmanager
def recorded() -> Iterator[Record]:
    """Keep a record of the networks that are called inside, eager ones; nothing about them changes.

    >>> with recorded() as record:
    ...     backbone.features(images)
    >>> record.layers[0].weights  # (B, K, N, M)
    """
    record = Record()
    with _Recorder(record):
        yield record


@runtime_checkable
class Traceable(Protocol):
    """A backbone that knows how its layers of attention lie on the image."""

    def trace(self, layers: Sequence[Attended], maps: Sequence[FeatureMap]) -> list[FeatureMap]:
        """From where the mean over the cells of the last of ``maps`` comes: shares (B, 1, h, w), which add up to one
        over all grids that are given, less what comes from tokens of no cell. ``layers`` are all, in their order.
        """
        ...


@torch.no_grad()
def rollout(backbone: Backbone, images: Tensor) -> Tensor:
    """The share of each pixel in the mean of the last map: (B, H, W) for ``images`` (B, C, H, W).

    A cell's share is spread over the pixels that it stands for; it may have seen a little beyond. Shares add up to one
    less what comes from registers and the like, and from cells beyond the image.

    Raises:
        NotDefined: where nothing attends, or how the layers lie on the image is not known.
    """
    with recorded() as record:
        maps = backbone.features(images)
    name = getattr(backbone, "title", type(backbone).__name__)
    if not record.layers:
        raise NotDefined(f"roll-out: {name} calls no scaled_dot_product_attention whose weights could be traced")
    trace = backbone.trace if isinstance(backbone, Traceable) else _TraceOfOneGrid(name)
    size = (images.shape[2], images.shape[3])
    shares = [painted(part.x[:, 0] / part.stride**2, part.stride, size) for part in trace(record.layers, maps)]
    return torch.stack(shares).sum(0)


@torch.no_grad()
def token_norms(backbone: Backbone, images: Tensor) -> list[FeatureMap]:
    """The length of each token, (B, 1, h, w), for each map of ``images`` (B, C, H, W), before its last layer norm.

    Long tokens where there is little to see hold what belongs to the whole image (Darcet et al. 2023, arXiv
    2309.16588). A map that no layer norm gave, as of a convolutional network, is measured as it is.
    """
    with recorded() as record:
        maps = backbone.features(images)
    return [FeatureMap(_before_norm(record, m).norm(dim=-1)[:, None], m.stride) for m in maps]


def painted(x: Tensor, stride: int, size: tuple[int, int], outside: float = 0.0) -> Tensor:
    """Cells (B, h, w) as the pixels that they stand for, (B, H, W); ``outside`` where the grid does not reach.

    Grid and image share their centre, as when images are made to fit a patch.
    """
    x = x.repeat_interleave(stride, 1).repeat_interleave(stride, 2)
    over = [have - want for have, want in zip(x.shape[1:], size, strict=True)]
    ends = [(-(n // 2), -(n - n // 2)) if n >= 0 else (-n // 2, -n - -n // 2) for n in over]
    return F.pad(x, (*ends[1], *ends[0]), value=outside)


def evenly(last: FeatureMap) -> Tensor:
    """Shares (B, h w) of the cells of a map in their mean."""
    cells = last.grid[0] * last.grid[1]
    return torch.full((len(last.x), cells), 1 / cells, device=last.x.device)


def attended(shares: Tensor, layer: Attended) -> Tensor:
    """Shares (B, N) of queries as shares (B, M) of the keys that they see."""
    return torch.matmul(shares[:, None], layer.weights.mean(1).to(shares.dtype))[:, 0]


def through(shares: Tensor, layer: Attended) -> Tensor:
    """Shares (B, N) of what comes out of a residual self-attention as shares of what went in."""
    return (shares + attended(shares, layer)) / 2


def within(shares: Tensor, layer: Attended, cells: Tensor) -> Tensor:
    """The same as ``through`` in windows: ``cells`` (M, n) is the number of each window's cells, -1 where it has none.

    The layer has its windows beside its heads, (B, M K, n, E), and each cell in one window.
    """
    weights = layer.weights.unflatten(1, (len(cells), -1)).mean(2).to(shares.dtype)  # (B, M, n, n)
    inside = cells >= 0
    held = shares[:, cells.clamp(min=0)] * inside  # (B, M, n)
    passed = torch.matmul(held[:, :, None], weights)[:, :, 0]
    came = torch.empty_like(shares)
    came[:, cells[inside]] = passed[:, inside]
    return (shares + came) / 2


def averaged(shares: Tensor, grid: tuple[int, int], kernel: int, stride: int, padding: int = 0) -> Tensor:
    """Shares (B, M) of means over windows of ``kernel`` x ``kernel`` cells as shares (B, N) of the cells of ``grid``.

    Means are over the cells that there are, at the edges over fewer. Without padding the last window may be cut short.
    """
    with torch.enable_grad():  # the transpose of a linear map is its gradient
        cells = shares.new_zeros(len(shares), 1, *grid, requires_grad=True)
        means = F.avg_pool2d(cells, kernel, stride, padding, ceil_mode=not padding, count_include_pad=False)
        return torch.autograd.grad(means, cells, shares.view_as(means))[0].flatten(1)


class _Recorder(TorchFunctionMode):
    def __init__(self, record: Record):
        super().__init__()
        self.record = record

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function is F.scaled_dot_product_attention:
            self.record.layers.append(_call(*args, **kwargs))
        elif function is F.layer_norm:
            self.record.norms.append(((args[0] if args else kwargs["input"]).detach(), result))
        return result


def _call(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **options: Any,
) -> Attended:
    """A call of torch's function without its values and its dropout."""
    return Attended(query.detach(), key.detach(), {"attn_mask": attn_mask, "is_causal": is_causal, **options})


@dataclass(frozen=True)
class _TraceOfOneGrid:
    """The trace of a network all of whose tokens see each other in every layer."""

    name: str

    def __call__(self, layers: Sequence[Attended], maps: Sequence[FeatureMap]) -> list[FeatureMap]:
        last = maps[-1]
        images, (height, width) = len(last.x), last.grid
        cells = height * width
        sides = {(*layer.q.shape[:3], layer.k.shape[2]) for layer in layers}
        batch, _, tokens, keys = next(iter(sides))
        if len(sides) > 1 or tokens != keys or batch != images or tokens < cells:
            raise NotDefined(
                f"roll-out: how the attention of {self.name} lies on the image is not known, as it is not among all "
                f"cells of its last map, {height} x {width}, in every layer; ask for norms or gradient"
            )
        shares = F.pad(evenly(last), (tokens - cells, 0))
        for layer in reversed(layers):
            shares = through(shares, layer)
        return [FeatureMap(shares[:, tokens - cells :].unflatten(1, (1, height, width)), last.stride)]


def _before_norm(record: Record, m: FeatureMap) -> Tensor:
    """The tokens (B, h, w, D) of a map, as they were before the layer norm that gave them, if one did."""
    (height, width), place = m.grid, m.x.untyped_storage().data_ptr()
    for before, after in reversed(record.norms):
        if after.untyped_storage().data_ptr() == place:  # the map is a view of it
            if before.ndim == 3:
                before = before[:, before.shape[1] - height * width :].unflatten(1, m.grid)
            return before.float()
    return m.x.permute(0, 2, 3, 1).float()

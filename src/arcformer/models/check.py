"""The contract of a backbone as a callable: for the tests of this library, and for anybody's own class.

>>> from arcformer.models import VisionTransformer
>>> check_backbone(VisionTransformer, registers=2)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from arcformer.models.backbone import Backbone, TokenBackbone

__all__ = ["BrokenContract", "check_backbone", "check_gradients", "check_round_trip", "hold", "require"]

SIDE = 32
ODD = (37, 45)


class BrokenContract(AssertionError):
    """A class does not keep the contract that it claims; the text names the clause and what was seen instead."""


def check_backbone(cls: Callable[..., Backbone], **options: Any) -> None:
    """Check that ``cls(image_size, channels, **options)`` keeps the contract of ``Backbone`` or ``TokenBackbone``.

    Takes seconds with small options, runs on the CPU and leaves the global random state as it was.

    Raises:
        BrokenContract: naming the clause.
    """

    def make(channels: int = 1) -> Backbone:
        return cls(SIDE, channels, **options)

    clauses = list(BACKBONE_CLAUSES)
    with torch.random.fork_rng(devices=[]):
        if isinstance(make(), TokenBackbone):
            clauses += TOKEN_CLAUSES
    hold(getattr(cls, "__name__", repr(cls)), clauses, make)


def hold(name: str, clauses: Sequence[Callable[..., None]], *arguments: Any) -> None:
    """Call each clause with ``arguments`` and a random state of its own.

    A clause that fails, in whatever way, becomes a ``BrokenContract`` that quotes its docstring.
    """
    for clause in clauses:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                clause(*arguments)
            except Exception as error:
                words = " ".join((clause.__doc__ or clause.__name__).split())
                seen = str(error) if isinstance(error, BrokenContract) else f"{type(error).__name__}: {error}"
                raise BrokenContract(f"{name} breaks the clause '{words}' {seen}") from error


def require(kept: bool, seen: str) -> None:
    """Raise ``BrokenContract`` with what was ``seen`` unless the clause is ``kept``."""
    if not kept:
        raise BrokenContract(seen)


def check_gradients(module: torch.nn.Module, loss: Callable[[Any], Tensor]) -> None:
    """Require that ``loss(module)`` has a finite gradient, not all zero, in every parameter that is trained.

    Works on a copy moved a little away from its initial values, which may hold zeros that block gradients.
    """
    module = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    loss(module).backward()
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            require(parameter.grad is not None, f"no gradient reaches {name}")
            require(bool(parameter.grad.isfinite().all()), f"the gradient of {name} is not finite")  # type: ignore
            require(bool(parameter.grad.any()), f"the gradient of {name} is zero")  # type: ignore


def check_round_trip(trained: torch.nn.Module, fresh: torch.nn.Module) -> None:
    """Load the state of ``trained``, passed through safetensors, into ``fresh``; keys and shapes must agree."""
    state = {name: tensor.contiguous() for name, tensor in trained.state_dict().items()}
    fresh.load_state_dict(safetensors.torch.load(safetensors.torch.save(state)), strict=True)


def is_a_backbone(make: Callable[..., Backbone]) -> None:
    """It is a Backbone with a positive dim."""
    backbone = make()
    require(isinstance(backbone, Backbone), f"it is a {type(backbone).__name__}")
    require(isinstance(backbone.dim, int) and backbone.dim > 0, f"dim is {backbone.dim!r}")


def maps_have_shape(make: Callable[..., Backbone]) -> None:
    """Features are maps (B, D, h, w) that tile the image with their stride, to within a cell of the coarsest, finest
    first, the last with D = dim, for one and three channels and for sizes that no patch divides.
    """
    for channels in (1, 3):
        backbone = make(channels).eval()
        for height, width in ((SIDE, SIDE), ODD, (2 * SIDE, SIDE)):
            maps = backbone.features(torch.randn(2, channels, height, width), context=None)
            require(len(maps) > 0, "there is no feature map")
            strides = [m.stride for m in maps]
            require(strides == sorted(strides), f"the strides are {strides}")
            require(maps[-1].x.shape[1] == backbone.dim, f"D is {maps[-1].x.shape[1]}, dim is {backbone.dim}")
            for m in maps:
                shape, image = tuple(m.x.shape), f"an image of {height} x {width} at stride {m.stride}"
                require(len(shape) == 4 and shape[0] == 2, f"a map of two images has shape {shape}")
                fits = all(
                    abs(n * m.stride - side) < strides[-1] for n, side in zip(shape[2:], (height, width), strict=True)
                )
                require(fits, f"the grid is {shape[2]} x {shape[3]} for {image}")
                require(bool(m.x.isfinite().all()), f"a map is not finite for {image}")


def refuses_other_channels(make: Callable[..., Backbone]) -> None:
    """Images with another number of channels are refused."""
    backbone = make(1).eval()
    try:
        backbone.features(torch.randn(1, 3, SIDE, SIDE))
    except Exception:
        return
    require(False, "built for one channel, it took three")


def is_deterministic(make: Callable[..., Backbone]) -> None:
    """In evaluation the same images give the same features, and the images are left as they were."""
    backbone, images = make().eval(), torch.randn(2, 1, SIDE, SIDE)
    before = images.clone()
    first, second = _last(backbone, images), _last(backbone, images)
    require(torch.equal(first, second), f"two calls differ by {_gap(first, second):.2g}")
    require(torch.equal(images, before), "the images were changed")


def sees_images_alone(make: Callable[..., Backbone]) -> None:
    """The features of an image do not depend on the other images, in evaluation; a batch of one trains."""
    backbone, images = make().eval(), torch.randn(3, 1, SIDE, SIDE)
    together, alone = _last(backbone, images)[:1], _last(backbone, images[:1])
    require(torch.allclose(together, alone, rtol=1e-3, atol=1e-4), f"they differ by {_gap(together, alone):.2g}")
    require(
        bool(_last(backbone.train(), images[:1]).isfinite().all()), "a batch of one gives numbers that are not finite"
    )


def trains_every_parameter(make: Callable[..., Backbone]) -> None:
    """Gradients reach every trained parameter."""
    images = torch.randn(2, 1, SIDE, SIDE)

    def loss(backbone: Backbone) -> Tensor:
        return torch.stack([(m.x * torch.randn_like(m.x)).sum() for m in backbone.features(images)]).sum()

    check_gradients(make().eval(), loss)


def survives_saving(make: Callable[..., Backbone]) -> None:
    """Saved as safetensors and loaded into a fresh backbone, it gives the same features."""
    trained, fresh, images = make().eval(), make().eval(), torch.randn(2, 1, SIDE, SIDE)
    check_round_trip(trained, fresh)
    before, after = _last(trained, images), _last(fresh, images)
    require(torch.equal(before, after), f"they differ by {_gap(before, after):.2g}")


def tokens_are_complete(make: Callable[..., TokenBackbone]) -> None:
    """tokenize gives every cell of the grid, in the order of its ids, and carries the context along."""
    context = torch.randn(2, 3)
    tokens = make().eval().tokenize(torch.randn(2, 1, *ODD), context)
    cells = tokens.grid[0] * tokens.grid[1]
    require(tokens.x.shape[:2] == (2, cells), f"x is {tuple(tokens.x.shape)} for a grid of {cells} cells")
    require(torch.equal(tokens.ids, torch.arange(cells).expand(2, -1)), "ids are not 0, 1, 2, ... for each image")
    require(tokens.context is context, "the context is lost")


def features_follow_from_tokens(make: Callable[..., TokenBackbone]) -> None:
    """features is encode after tokenize, each token in its place."""
    backbone, images = make().eval(), torch.randn(2, 1, SIDE, SIDE)
    encoded = backbone.encode(backbone.tokenize(images))
    placed = encoded.x.transpose(1, 2).unflatten(2, encoded.grid)
    require(torch.allclose(_last(backbone, images), placed, atol=1e-5), "the two differ")


def encodes_any_subset(make: Callable[..., TokenBackbone]) -> None:
    """encode takes any tokens in any order, keeps their ids, and takes positions from the ids alone."""
    backbone = make().eval()
    tokens = backbone.tokenize(torch.randn(2, 1, SIDE, SIDE))
    order = torch.stack([torch.randperm(tokens.x.shape[1]) for _ in range(2)])
    shuffled, whole = backbone.encode(tokens.at(order)), backbone.encode(tokens)
    require(torch.equal(shuffled.ids, order), "the ids were changed")
    expected = whole.at(order).x
    same = torch.allclose(shuffled.x, expected, rtol=1e-3, atol=1e-4)
    require(same, f"tokens in another order differ by {_gap(shuffled.x, expected):.2g}")
    few = backbone.encode(tokens.at(order[:, : order.shape[1] // 4]))
    require(few.x.shape[1] == order.shape[1] // 4, f"a quarter of the tokens became {tuple(few.x.shape)}")
    require(bool(few.x.isfinite().all()), "a quarter of the tokens gives numbers that are not finite")


BACKBONE_CLAUSES: list[Callable[..., None]] = [
    is_a_backbone,
    maps_have_shape,
    refuses_other_channels,
    is_deterministic,
    sees_images_alone,
    trains_every_parameter,
    survives_saving,
]
TOKEN_CLAUSES: list[Callable[..., None]] = [tokens_are_complete, features_follow_from_tokens, encodes_any_subset]


def _last(backbone: Backbone, images: Tensor) -> Tensor:
    with torch.no_grad():
        return backbone.features(images)[-1].x


def _gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max())

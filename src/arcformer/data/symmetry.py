"""The symmetries of the square, and how they change what is known of an image: planes, positions, ellipticities.

By their names: x and y are components of a vector (spin 1), which quarter turns exchange; e1 and e2, gamma1 and gamma2
those of an ellipse or a shear along an axis and along a diagonal (spin 2), which change their signs at most; all else
is the same however the image lies. Angles go round without end, and have no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from arcformer.errors import InputError

__all__ = ["Symmetries", "Turns", "check_square", "check_turns", "has_rule"]

Symmetries = Literal["none", "half-turn", "dihedral"]

ANGLES = ("phi", "angle")


@dataclass(frozen=True)
class Turns:
    """An element of the group for each of B images: axes swapped, then upside down, then left to right, where it says.

    Tensors of one entry stand for all images.

    Attributes:
        swap: (B,) bool; None: of none of them, as where images are not square.
        up, left: (B,) bool.
    """

    swap: Tensor | None
    up: Tensor
    left: Tensor

    @classmethod
    def drawn(cls, count: int, symmetries: Literal["half-turn", "dihedral"], generator: Generator) -> Turns:
        """One for each of ``count`` images: nothing or half a turn, or any of the eight."""
        if symmetries == "half-turn":
            half = torch.randint(2, (count,), generator=generator).bool()
            return cls(None, half, half)
        return cls(*torch.randint(2, (3, count), generator=generator).bool())

    @classmethod
    def eight(cls) -> Iterator[Turns]:
        """All elements, each for whole batches; the first leaves images as they are."""
        for which in range(8):
            yield cls(*(torch.tensor([bool(which >> bit & 1)]) for bit in range(3)))

    @property
    def inverse(self) -> Turns:
        """What turns back. To swap, turn upside down and swap again is to mirror left and right."""
        if self.swap is None:
            return self
        return Turns(self.swap, torch.where(self.swap, self.left, self.up), torch.where(self.swap, self.up, self.left))

    def planes(self, planes: Tensor) -> Tensor:
        """Planes (B, ..., H, W), turned."""
        if self.swap is not None:
            planes = _where(self.swap, planes, lambda p: p.mT)
        planes = _where(self.up, planes, lambda p: p.flip(-2))
        return _where(self.left, planes, lambda p: p.flip(-1))

    def numbers(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Numbers by name, (B, ...) each, of the turned images. Those that cannot be turned are left out."""
        known = [name for name in columns if has_rule(name) and not (self.swap is not None and _alone(name, columns))]
        return {name: self._number(name, columns) for name in known}

    def values(self, values: Tensor, names: Sequence[str]) -> Tensor:
        """Values (B, ..., P) of parameters with these names, of the turned images.

        See that they can be turned first (``check_turns``). Angles are taken for those of ellipses, which half a turn
        leaves alone.
        """
        columns = dict(zip(names, values.unbind(-1), strict=True))
        return torch.stack([self._number(name, columns) for name in names], -1) if names else values

    def _number(self, name: str, columns: Mapping[str, Tensor]) -> Tensor:
        column = columns[name]
        match _kind(name):
            case "x" | "y" as axis:
                if self.swap is not None:
                    column = _where(self.swap, column, lambda _: columns[_partner(name)])
                return _where(self.left if axis == "x" else self.up, column, torch.neg)
            case "e1" | "gamma1":
                return column if self.swap is None else _where(self.swap, column, torch.neg)
            case "e2" | "gamma2":
                return _where(self.up ^ self.left, column, torch.neg)
        return column


def check_turns(names: Sequence[str], symmetries: Symmetries, option: str, other: str = "half-turn") -> None:
    """See that parameters with these names can be turned by ``symmetries``, which the user has chosen by ``option``.

    ``other`` is a value of that option that turns by no quarters.

    Raises:
        InputError: an angle, or a component of a position without its other one, that a quarter turn would need.
    """
    if symmetries != "dihedral":
        return
    for name in names:
        if not has_rule(name):
            raise InputError(
                f"{option} = 'dihedral': {name!r} is an angle, which turns with the image, and no rule says how; "
                f"leave it out, or turn by no quarters: {option} = {other!r}"
            )
        if _alone(name, names):
            raise InputError(
                f"{option} = 'dihedral': a quarter turn makes {name!r} of {_partner(name)!r}, which is not there; "
                f"name both, or turn by no quarters: {option} = {other!r}"
            )


def check_square(images: Tensor) -> None:
    """See that images (B, C, H, W) have the symmetries of the square.

    Raises:
        InputError: they do not.
    """
    height, width = images.shape[-2:]
    if height != width:
        raise InputError(f"images of {height} x {width} pixels: only squares have the symmetries 'dihedral'")


def has_rule(name: str) -> bool:
    """Whether it is known how a parameter of this name turns with the image, if it does."""
    return _kind(name) not in ANGLES


def _kind(name: str) -> str:
    """The end of a name, which says what it is; a unit may follow."""
    return name.removesuffix("_arcsec").rpartition("_")[2]


def _alone(name: str, names: Container[str]) -> bool:
    """Whether a component of a position is without its other one."""
    return _kind(name) in ("x", "y") and _partner(name) not in names


def _partner(name: str) -> str:
    """The other component of a position."""
    stem = name.removesuffix("_arcsec")
    return stem[:-1] + ("y" if stem[-1] == "x" else "x") + name[len(stem) :]


def _where(chosen: Tensor, values: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """``function`` of the chosen images, the others as they are."""
    chosen = chosen.to(values.device).view(-1, *[1] * (values.ndim - 1))
    return torch.where(chosen, function(values), values)

"""Kinds of deflectors below the halo: what each takes of its table, and how many of them deflect rays together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from arcformer.sim.halos import truncated_nfw_deflection
from arcformer.sim.kernels import kernel
from arcformer.sim.lens import point_mass_deflection
from arcformer.sim.vortex import line_deflection

__all__ = ["KINDS", "Deflectors"]

FAR = 1e3
"""Arcsec, where what pads a block stands; it has no mass."""


@dataclass(frozen=True)
class Deflectors:
    """A kind of deflector.

    Attributes:
        name: what the columns of its table begin with.
        columns: of its table, the Einstein radius among them, in the order that ``deflect`` takes them.
        deflect: (ax, ay, block (columns, B, N), x, y) to the deflections (ax, ay) with the block's added.
        block: N: more take longer to compile, fewer read the images more often.
    """

    name: str
    columns: tuple[str, ...]
    deflect: Callable[..., tuple[Tensor, Tensor]]
    block: int

    def count(self, parameters: dict[str, Tensor]) -> Tensor | None:
        """How many each lens has, (B,); None where no lens of the preset ever has one."""
        return parameters.get(f"{self.name}_count")

    def table(self, parameters: dict[str, Tensor]) -> Tensor:
        """What ``deflect`` takes of all lenses, (columns, B, N)."""
        return torch.stack([parameters[f"{self.name}_{column}"] for column in self.columns])

    def blocks(self, table: Tensor, count: Tensor) -> Iterator[Tensor]:
        """A table (columns, B, N) in blocks of equal size; what stands beyond ``count`` (B,) has no mass, far away."""
        most = int(count.max()) if len(count) else 0
        for start in range(0, most, self.block):
            block = table[:, :, start : start + self.block]
            missing = self.block - block.shape[2]
            if missing:
                block = torch.cat([block, block[:, :, :1].expand(-1, -1, missing)], dim=2)
            absent = torch.arange(start, start + self.block, device=count.device) >= count[:, None]
            yield torch.stack([
                torch.where(absent, nothing, column)
                for column, nothing in zip(block, map(_nothing, self.columns), strict=True)
            ])  # fmt: skip


def _nothing(column: str) -> float:
    """The value of a column for what is not there."""
    return {"x": FAR, "y": FAR, "theta_E": 0.0}.get(column, 1.0)


@kernel
def _points(ax: Tensor, ay: Tensor, block: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    px, py = point_mass_deflection(*block.unbind(), x=x, y=y)
    return ax + px, ay + py


@kernel
def _subhalos(ax: Tensor, ay: Tensor, block: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    px, py = truncated_nfw_deflection(*block.unbind(), x=x, y=y)
    return ax + px, ay + py


@kernel
def _lines(ax: Tensor, ay: Tensor, block: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    x0, y0, theta_E, half_length, angle = block.unbind()
    px, py = line_deflection(x0, y0, angle.cos(), angle.sin(), half_length, theta_E, x, y)
    return ax + px, ay + py


KINDS: Sequence[Deflectors] = (
    Deflectors("point", ("x", "y", "theta_E"), _points, block=25),
    Deflectors("subhalo", ("x", "y", "theta_E", "scale"), _subhalos, block=16),
    Deflectors("line", ("x", "y", "theta_E", "half_length", "angle"), _lines, block=1),
)

"""``LensBatch``: the one thing that crosses every boundary, from the simulator and the readers to the tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

__all__ = ["LensBatch"]


@dataclass(frozen=True)
class LensBatch:
    """A batch of B images of strong lenses and what is known about them.

    Shapes: B images, C channels, H x W pixels, P targets, K numbers of context. Every tensor leads with B.

    Attributes:
        images: (B, C, H, W) float32, in the physical unit of the preset or file (``unit``) until a transform scales it.
        labels: (B,) int64, index into ``classes``.
        classes: names of the classes, in the order of the preset, never that of the file system.
        targets: (B, P) float32; NaN where a target does not apply (the axion mass of a lens without a vortex).
        target_names: P names that carry their unit, as ``log10_axion_mass_eV``.
        high_res: (B, C, rH, rW) float32, the same sky at r times the resolution.
        psf: (B, h, w) float32, odd sizes, each summing to one.
        noise_std: (B, C, H, W) float32, in the unit of the images.
        mask: (B, C, H, W) bool, True where a pixel is bad.
        pixel_scale: (B,) float32, arcsec.
        context: (B, K) float32, numbers that describe the observation: log pixel scale, PSF width, noise level.
        ids: B names, a file's path or ``preset/seed/index``.
        unit: the unit of the images, as ``counts`` or ``e-/s``.
        extras: further truth by name, each (B, ...): the clean image, every drawn parameter, padded subhalos.

    Raises:
        ValueError: when shapes disagree.
    """

    images: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    targets: Tensor | None = None
    target_names: tuple[str, ...] = ()
    high_res: Tensor | None = None
    psf: Tensor | None = None
    noise_std: Tensor | None = None
    mask: Tensor | None = None
    pixel_scale: Tensor | None = None
    context: Tensor | None = None
    ids: tuple[str, ...] = ()
    unit: str = ""
    extras: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.images.ndim != 4:
            raise ValueError(f"images must be (B, C, H, W), got {tuple(self.images.shape)}")
        for name, tensor in self._tensors().items():
            if tensor.shape[:1] != self.images.shape[:1]:
                raise ValueError(f"{name} holds {tuple(tensor.shape)}, but there are {len(self)} images")
        if self.ids and len(self.ids) != len(self):
            raise ValueError(f"{len(self.ids)} ids for {len(self)} images")
        if self.targets is not None and self.targets.shape != (len(self), len(self.target_names)):
            raise ValueError(f"targets {tuple(self.targets.shape)} do not match names {self.target_names}")
        for name in ("noise_std", "mask"):
            tensor = getattr(self, name)
            if tensor is not None and tensor.shape != self.images.shape:
                raise ValueError(f"{name} {tuple(tensor.shape)} does not match images {tuple(self.images.shape)}")

    def __len__(self) -> int:
        return self.images.shape[0]

    def __getitem__(self, rows: int | slice | Sequence[int] | Tensor) -> LensBatch:
        """The images at ``rows`` (an integer, a slice, indices or a mask) as a batch; one image is a batch of one."""
        if isinstance(rows, int):
            rows = slice(rows, rows + 1 or None)
        index = torch.arange(len(self))[rows]
        kept = tuple(self.ids[i] for i in index.tolist()) if self.ids else ()
        unnamed = replace(self, ids=())  # as many ids as images, at every moment
        return replace(unnamed.map(lambda tensor: tensor[index.to(tensor.device)]), ids=kept)

    def map(self, function: Callable[[Tensor], Tensor]) -> LensBatch:
        """A new batch with ``function`` applied to every tensor; names and ids are kept."""
        changed: dict[str, Any] = {n: function(t) for n, t in self._tensors().items() if not n.startswith("extras.")}
        changed["extras"] = {name: function(tensor) for name, tensor in self.extras.items()}
        return replace(self, **changed)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> LensBatch:
        """The batch on ``device``."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> LensBatch:
        """The batch in page-locked memory, as a ``DataLoader`` asks for it."""
        return self.map(lambda tensor: tensor.pin_memory())

    @staticmethod
    def collate(batches: Sequence[LensBatch]) -> LensBatch:
        """Batches one after another as one; a field or extra that any of them lacks is left out.

        Raises:
            ValueError: for no batches, or batches whose classes, targets or units differ.
        """
        if not batches:
            raise ValueError("cannot collate no batches")
        first = batches[0]
        for name in ("classes", "target_names", "unit"):
            if any(getattr(batch, name) != getattr(first, name) for batch in batches):
                raise ValueError(f"batches with different {name} cannot be collated")
        shared = set.intersection(*(set(batch._tensors()) for batch in batches))
        joined = {name: torch.cat([batch._tensors()[name] for batch in batches]) for name in shared}
        extras = {name.removeprefix("extras."): joined.pop(name) for name in sorted(shared) if "." in name}
        ids = tuple(i for batch in batches for i in batch.ids) if all(len(b.ids) == len(b) for b in batches) else ()
        named: dict[str, Any] = {name: None for name in first._tensors() if "." not in name} | joined
        return replace(first, **named, ids=ids, extras=extras)

    def _tensors(self) -> dict[str, Tensor]:
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        named = {name: value for name, value in named.items() if isinstance(value, Tensor)}
        return named | {f"extras.{name}": tensor for name, tensor in self.extras.items()}

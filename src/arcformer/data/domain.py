"""What a run has seen: the range of its training images, and in words where another image lies outside it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.data.sky import sky_rms
from arcformer.data.transforms import Transform
from arcformer.errors import InputError

__all__ = ["Domain"]

TAIL = 0.005
"""The share of training images beyond each end of a range."""

SLACK = 1.05
"""By what factor beyond its range a pixel scale or a field is still as good as seen."""

BRIGHTER = 2.0
"""By what factor beyond its range a noise or a brightest pixel is still as good as seen."""


@dataclass(frozen=True)
class Domain:
    """Ranges (low, high) over the training images.

    Attributes:
        unit: of the images.
        channels: of the images.
        pixel_scale: of the images as they came, arcsec; None where it was not known.
        field: side of the images as they came, arcsec where the pixel scale is known, else pixels.
        sky: level of the frame of the image that the network sees, scaled.
        noise: of the sky there, scaled.
        peak: brightest pixel there above the sky, scaled.
    """

    unit: str
    channels: int
    pixel_scale: tuple[float, float] | None
    field: tuple[float, float]
    sky: tuple[float, float]
    noise: tuple[float, float]
    peak: tuple[float, float]

    @classmethod
    def fit(cls, batches: Sequence[LensBatch], transform: Transform) -> Domain:
        """The ranges of training batches in physical units, brightness as ``transform`` shows it to the network.

        Raises:
            InputError: no batches.
        """
        if not batches:
            raise InputError("a domain is fitted on at least one batch")
        measured = [_measure(batch, transform(batch)) for batch in batches]
        ranges = {name: _range(torch.cat([m[name] for m in measured])) for name in measured[0]}
        scale = ranges.pop("pixel_scale")
        known = scale if math.isfinite(scale[0]) else None
        return cls(batches[0].unit, batches[0].images.shape[1], pixel_scale=known, **ranges)

    def departures(self, batch: LensBatch, transform: Transform, centre: Tensor | None = None) -> tuple[str, ...]:
        """In what a batch of one, in physical units, differs from all that was seen: a line for each difference.

        Args:
            batch: one image.
            transform: that of the run.
            centre: as ``Transform`` takes it.
        """
        if batch.images.shape[1] != self.channels:
            return (f"{batch.images.shape[1]} channels, seen were images of {self.channels}",)
        found = {k: float(v[0]) for k, v in _measure(batch, transform(batch, centre=centre)).items()}
        notes = []
        per_image = transform.section.scaling in ("noise", "minmax")  # the unit cancels
        if self.unit and batch.unit != self.unit and not per_image:
            notes.append(
                f"unit {batch.unit!r}, seen was {self.unit!r}" if batch.unit else f"no unit, seen was {self.unit}"
            )
        if self.pixel_scale is not None:
            low, high = self.pixel_scale
            if math.isnan(found["pixel_scale"]):
                notes.append(f"pixel scale unknown, seen was {_span(self.pixel_scale)} arcsec")
            elif not low / SLACK <= found["pixel_scale"] <= high * SLACK:
                notes.append(f"pixel scale {found['pixel_scale']:.3g} arcsec, seen was {_span(self.pixel_scale)}")
        if found["field"] < self.field[0] / SLACK:  # a larger one is cropped
            notes.append(f"image {found['field']:.3g} arcsec wide, seen was {_span(self.field)}")
        far = self.peak[0] / 2  # a sky that is off by half of what the faintest image had at its brightest
        margins = {
            "sky": (self.sky[0] - far, self.sky[1] + far),
            "noise": _widened(self.noise),
            "peak": _widened(self.peak),
        }
        for name, what in (("sky", "sky level"), ("noise", "sky noise"), ("peak", "brightest pixel above the sky")):
            low, high = margins[name]
            if math.isfinite(found[name]) and not low <= found[name] <= high:  # a frame that is padded has no sky
                span = _span(getattr(self, name))
                notes.append(f"{what} {found[name]:.3g} as the network sees it, seen was {span}")
        return tuple(notes)

    def save(self, path: str | Path) -> None:
        """Write the domain as JSON."""
        Path(path).write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Domain:
        """The domain that ``save`` wrote.

        Raises:
            InputError: the file is missing or holds no domain.
        """
        try:
            stored = json.loads(Path(path).read_text())
            ends: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in stored.items()}
            return cls(**ends)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path} holds no domain ({error})") from None


def _widened(ends: tuple[float, float]) -> tuple[float, float]:
    """A range with what is beyond it by ``BRIGHTER`` and by less than it is wide: the scaling may be a logarithm."""
    low, high = ends
    return max(low / BRIGHTER, 2 * low - high), min(high * BRIGHTER, 2 * high - low)


def _measure(raw: LensBatch, seen: LensBatch) -> dict[str, Tensor]:
    """What is compared, (B,) each: grid and size of images as they came, brightness of what the network sees."""
    side = float(min(raw.images.shape[-2:]))
    unknown = raw.images.new_full((len(raw),), torch.nan)
    scale = unknown if raw.pixel_scale is None else raw.pixel_scale
    images = seen.images if seen.mask is None else seen.images.masked_fill(seen.mask, torch.nan)
    sky = _frame(images).nanmedian(dim=1).values
    return {
        "pixel_scale": scale,
        "field": side * torch.where(scale.isfinite(), scale, 1.0),
        "sky": sky,
        "noise": sky_rms(seen.images, seen.mask).nanmean(dim=1),
        "peak": images.nan_to_num(nan=-torch.inf).flatten(1).amax(dim=1) - sky.nan_to_num(),
    }


def _frame(images: Tensor) -> Tensor:
    """The pixels along the edge of images (B, C, H, W), (B, N)."""
    edges = (images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1])
    return torch.cat([edge.flatten(1) for edge in edges], dim=1)


def _range(values: Tensor) -> tuple[float, float]:
    values = values.double()
    return float(values.nanquantile(TAIL)), float(values.nanquantile(1 - TAIL))


def _span(ends: tuple[float, float]) -> str:
    low, high = (f"{end:.3g}" for end in ends)
    return low if low == high else f"{low} to {high}"

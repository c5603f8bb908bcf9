"""The transform between a batch in physical units and what a network sees: one grid of pixels, one flux scaling.

Fitted on training batches it is a handful of numbers, recorded with the weights, and its scaling can be undone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.config import Section
from arcformer.data.resample import resample
from arcformer.data.scaling import Scaling, Stretch
from arcformer.data.sky import sky_rms
from arcformer.errors import InputError

__all__ = ["Transform", "TransformSection"]

FAINTEST = 1e-3
"""A fitted softening is at least this share of an image's peak, or noise-free images would be all logarithm."""


class TransformSection(Section):
    """How images are brought to one grid and one range.

    ``size``: side in pixels; images are cropped about their centre, or padded with masked pixels. None keeps all, and
    a run brings other images to the size of those that it was trained on.
    ``pixel_scale``: arcsec per pixel after resampling, flux kept. None keeps that of the images.
    ``scaling``: ``asinh``; ``noise``, asinh of each image in units of its own noise; ``linear``, all images divided by
    one number, so that fluxes still add up; ``none``; ``minmax``, each image to [0, 1], which throws away how bright it
    is.
    ``softening``: where asinh turns from linear to logarithmic, in the unit of the images (``noise``: of their noise).
    None fits the noise of the sky. Without asinh it has no meaning.
    """

    size: int | None = Field(default=None, ge=1)
    pixel_scale: float | None = Field(default=None, gt=0)
    scaling: Scaling = "asinh"
    softening: float | None = Field(default=None, gt=0)


@dataclass(frozen=True)
class Transform:
    """Resampling, crop and flux scaling of a ``LensBatch``; ``fit`` gives the numbers that are not chosen.

    Example:
        >>> transform = Transform(TransformSection(size=64, pixel_scale=0.1)).fit([source.batch(k) for k in range(4)])
        >>> scaled = transform(batch)
        >>> transform.inverse(scaled).images  # counts again, on the new grid
    """

    section: TransformSection
    softening: float | None = None
    offset: float = 0.0
    scale: float = 1.0

    def fit(self, batches: Sequence[LensBatch]) -> Transform:
        """The transform with its numbers taken from ``batches``, which must be training batches.

        The softening is the median over images of the noise of their sky, offset and scale the mean and standard
        deviation of their pixels after asinh. The scale of ``linear`` is the root mean square of the pixels. ``none``
        and ``minmax`` need no numbers.

        Raises:
            InputError: no batches, nothing in them to fit, or what ``__call__`` raises.
        """
        if self.section.scaling in ("none", "minmax"):
            return Transform(self.section)
        if not batches:
            raise InputError("a transform is fitted on at least one batch")
        batches = [self._on_grid(batch) for batch in batches]
        if self.section.scaling == "linear":
            pixels = torch.cat([_good_pixels(batch).double().cpu() for batch in batches])
            return Transform(self.section, scale=float(pixels.square().mean().sqrt()) or 1.0)
        plain = Transform(self.section, self.section.softening or self._fit_softening(batches))
        pixels = torch.cat([_good_pixels(plain._scaled(batch)).double().cpu() for batch in batches])
        return replace(plain, offset=float(pixels.mean()), scale=float(pixels.std()) or 1.0)

    def __call__(self, batch: LensBatch, *, centre: Tensor | None = None) -> LensBatch:
        """The batch on the grid (see ``resample``) and in the range of this transform.

        ``high_res`` and ``extras["clean"]`` are scaled alike; ``noise_std`` is multiplied with the slope of the scaling
        at its pixel. The ``unit`` stays that of the physical image. ``noise`` and ``minmax`` keep what each image is
        measured from and in, ``flux_zero`` and ``flux_unit``, in ``extras``.

        Args:
            batch: images in physical units, with one ``pixel_scale`` where the section asks for one.
            centre: (B, 2), where the lens is: y and x in pixels, 0 in the middle of the first; None: in the middle.

        Raises:
            InputError: not fitted; pixel scales that are unknown or differ; under ``noise``, an image without any.
        """
        if self._compresses and self.softening is None:
            raise InputError(f"a transform with scaling {self.section.scaling!r} has to be fitted before it is used")
        return self._scaled(self._on_grid(batch, centre))

    def inverse(self, batch: LensBatch) -> LensBatch:
        """The batch with its flux scaling undone: physical units, on the grid that it is on.

        Raises:
            InputError: the batch has lost the extras ``flux_zero`` and ``flux_unit`` that its scaling needs.
        """
        if self._per_image and not {"flux_zero", "flux_unit"} <= batch.extras.keys():
            raise InputError(f"scaling {self.section.scaling!r} is undone with extras flux_zero, flux_unit: not there")
        one = batch.images.new_ones(len(batch))
        stretch = self._stretch(batch.extras.get("flux_zero", 0 * one), batch.extras.get("flux_unit", one))
        noise_std = None if batch.noise_std is None else batch.noise_std / stretch.slope(batch.images)
        extras = {name: extra for name, extra in batch.extras.items() if name not in ("flux_zero", "flux_unit")}
        return _with_images(replace(batch, noise_std=noise_std, extras=extras), stretch.physical)

    def save(self, path: str | Path) -> None:
        """Write the transform as JSON."""
        Path(path).write_text(json.dumps(asdict(self) | {"section": self.section.model_dump()}, indent=2) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Transform:
        """The transform that ``save`` wrote.

        Raises:
            InputError: the file is missing or holds no transform.
        """
        try:
            stored = json.loads(Path(path).read_text())
            return cls(**(stored | {"section": TransformSection.model_validate(stored["section"])}))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path} holds no transform ({error})") from None

    @property
    def _compresses(self) -> bool:
        return self.section.scaling in ("asinh", "noise")

    @property
    def _per_image(self) -> bool:
        return self.section.scaling in ("noise", "minmax")

    def _on_grid(self, batch: LensBatch, centre: Tensor | None = None) -> LensBatch:
        return resample(batch, self.section.size, self.section.pixel_scale, centre)

    def _fit_softening(self, batches: Sequence[LensBatch]) -> float:
        """The median over images of the sky's noise, in what the images are measured in."""
        units = [self._measure(batch)[1] for batch in batches]
        noise = [sky_rms(batch.images, batch.mask).nanmean(dim=1) for batch in batches]
        peak = [_extremes(batch)[1] for batch in batches]
        noise, peak = (torch.cat([v / u for v, u in zip(values, units, strict=True)]) for values in (noise, peak))
        softening = max(float(noise.nanmedian()), FAINTEST * float(peak.nanmedian()))
        if not (math.isfinite(softening) and softening > 0):
            raise InputError("the training images hold neither noise nor light to fit a scaling to")
        return softening

    def _scaled(self, batch: LensBatch) -> LensBatch:
        zero, unit = self._measure(batch)
        stretch = self._stretch(zero, unit)
        scaled = _with_images(batch, stretch.scaled)
        noise_std = None if batch.noise_std is None else batch.noise_std * stretch.slope(scaled.images)
        kept = {"flux_zero": zero, "flux_unit": unit} if self._per_image else {}
        return replace(scaled, noise_std=noise_std, extras=scaled.extras | kept)

    def _measure(self, batch: LensBatch) -> tuple[Tensor, Tensor]:
        """What every image is measured from and in, (B,) each."""
        one = batch.images.new_ones(len(batch))
        if self.section.scaling == "noise":
            return 0 * one, _noise_level(batch)
        if self.section.scaling == "minmax":
            low, high = _extremes(batch)
            return low, torch.where(high > low, high - low, one)
        return 0 * one, one

    def _stretch(self, zero: Tensor, unit: Tensor) -> Stretch:
        return Stretch(zero, unit, self.softening, self.offset, self.scale)


def _with_images(batch: LensBatch, function: Callable[[Tensor], Tensor]) -> LensBatch:
    """The batch with ``function`` applied to every field that is an image of the sky."""
    clean = {name: function(extra) for name, extra in batch.extras.items() if name == "clean"}
    high_res = None if batch.high_res is None else function(batch.high_res)
    return replace(batch, images=function(batch.images), high_res=high_res, extras=batch.extras | clean)


def _good_pixels(batch: LensBatch) -> Tensor:
    return batch.images.flatten() if batch.mask is None else batch.images[~batch.mask]


def _extremes(batch: LensBatch) -> tuple[Tensor, Tensor]:
    """The least and the greatest good pixel of every image, (B,) each."""
    low = high = batch.images
    if batch.mask is not None:
        low, high = low.masked_fill(batch.mask, torch.inf), high.masked_fill(batch.mask, -torch.inf)
    return low.flatten(1).amin(dim=1), high.flatten(1).amax(dim=1)


def _noise_level(batch: LensBatch) -> Tensor:
    """The noise (B,) of a typical pixel of every image: as stated, or else as its sky shows it."""
    if batch.noise_std is not None:
        level = batch.noise_std.flatten(1).median(dim=1).values
    else:
        level = sky_rms(batch.images, batch.mask).nanmean(dim=1)
    for row in (~(level > 0)).nonzero()[:1, 0].tolist():
        name = batch.ids[row] if batch.ids else f"image {row}"
        raise InputError(f"{name} has no noise to measure it in; use scaling 'asinh', or give its noise")
    return level

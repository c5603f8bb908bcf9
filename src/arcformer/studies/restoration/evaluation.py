"""Finer images, compared with the true ones, and with what needs no network on the same images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.data.pairs import enlarged, factor_of
from arcformer.errors import InputError
from arcformer.metrics import Estimate, bootstrap, flux_error, power, psnr, ssim
from arcformer.metrics.intervals import WeightedMetrics
from arcformer.studies.evaluation import Evaluation, Gathering
from arcformer.studies.leaks import FEATURES, trivial_features
from arcformer.studies.restoration import figures, sentences
from arcformer.studies.restoration.deconvolution import STEPS, richardson_lucy
from arcformer.studies.style import png_uri, svg_uri
from arcformer.tasks.superres.losses import chi_square

if TYPE_CHECKING:
    from arcformer.training import Run

__all__ = ["Example", "RestoredEvaluation", "RestoredGathering"]

Array = NDArray[np.float64]

OURS = ""
"""How the names of numbers of the network end; those of other methods end in their name."""

RIVALS = {"bilinear": "bilinear", "bicubic": "bicubic", "richardson_lucy": "Richardson-Lucy"}
"""What needs no network, in words."""

RING = {"theta_E_error": "ring radius", "ring_width_error": "ring width"}
"""Numbers of the ring by the feature of the leak audit that measures it, arcsec."""

BINS = 16
"""Of spatial frequency, from 0 to Nyquist of the finer pixels."""

LIT = 0.1
"""A pixel is lit where the true image has this share of its greatest pixel."""

WIDTHS = {"68": 1.0, "95": 1.96}
"""By the share in per cent that a Gaussian has within it, so many standard deviations."""

SHOWN = 4
"""Images that the report shows."""


@dataclass(frozen=True)
class Example:
    """An image in physical units, flux of a finer pixel, (H, W) each; ``sigmas``: residual over the uncertainty."""

    name: str
    seen: Array
    bicubic: Array
    found: Array
    true: Array
    sigmas: Array


@dataclass(frozen=True)
class RestoredEvaluation(Evaluation):
    """A run's result on N images.

    Attributes:
        each: what was measured of every image, by name, (N,), or (N, bins) of power spectra.
        found: every number, by name.
        factor: by how much the images are finer.
        pixel_scale: of the finer pixels, arcsec; None where it is not known or differs.
        frequencies: the middles of the bins of the power spectra, in cycles a finer pixel.
        binned: whether the input is the sum of the pixels of what is to be found, noise and all.
        examples: the first images.
    """

    each: dict[str, Array]
    found: dict[str, Estimate]
    factor: int
    pixel_scale: float | None
    frequencies: Array
    binned: bool
    examples: tuple[Example, ...]

    part: ClassVar[str] = "restoration/part.html.jinja"
    columns: ClassVar[tuple[str, ...]] = ("psnr", "psnr_above_bicubic", "ssim", "flux_error", "chi2", "coverage_68")
    important: ClassVar[tuple[str, ...]] = ("psnr", "psnr_above_bicubic")
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {
        "ssim_above*": (-2.0, 2.0),
        "ssim*": (-1.0, 1.0),
        "coverage_*": (0.0, 1.0),
        **dict.fromkeys(("flux_error*", "theta_E_error*", "ring_width_error*", "chi2", "power_ratio*"), (0.0, np.inf)),
    }

    @property
    def rivals(self) -> dict[str, str]:
        """What was measured beside the network, in words."""
        return {name: words for name, words in RIVALS.items() if f"psnr_{name}" in self.each}

    @property
    def estimates(self) -> dict[str, Estimate]:
        return self.found

    @property
    def headlines(self) -> dict[str, str]:
        words = {"psnr": "PSNR, dB"} | {f"psnr_{name}": f"PSNR, {text}, dB" for name, text in self.rivals.items()}
        words |= {"psnr_above_bicubic": "PSNR above bicubic, same images, dB", "ssim": "SSIM"}
        words |= {"flux_error": "flux error, median", "theta_E_error": "error of the ring's radius, median, arcsec"}
        words |= {"chi2": "chi-square of what was seen, reduced", "coverage_68": "pixels within one sigma"}
        return {name: text for name, text in words.items() if name in self.found}

    @property
    def of_each(self) -> dict[str, NDArray[Any]]:
        return dict(self.each)

    @classmethod
    def weighed(cls, of_each: Mapping[str, NDArray[Any]]) -> WeightedMetrics:
        return lambda weights: _numbers(of_each, weights)

    def unit(self, name: str) -> str:
        if name.startswith("psnr"):
            return "dB"
        return "arcsec" if name.startswith(tuple(RING)) and self.pixel_scale is not None else ""

    def summary(self) -> str:
        return sentences.summary(self)

    def agreement(self, first: RestoredEvaluation) -> str:
        return sentences.agreement(first, self)

    @property
    def spectra(self) -> dict[str, Array]:
        """The power of each method over that of the truth, all images together, (bins,); not a number without any."""
        true = self.each["power_true"].sum(0)
        true[true <= 0] = np.nan  # a ring between the frequencies of a small image
        return {name: self.each[_named("power", name)].sum(0) / true for name in (OURS, *self.rivals)}

    @property
    def tables(self) -> dict[str, list[dict[str, Any]]]:
        named = {"network": self.spectra[OURS]} | {name: self.spectra[name] for name in self.rivals}
        rows = zip(self.frequencies, *named.values(), strict=True)
        plain = ([float(x) if np.isfinite(x) else None for x in row] for row in rows)
        return {"power_ratio": [dict(zip(("cycles_per_pixel", *named), row, strict=True)) for row in plain]}

    def drawn(self) -> dict[str, Any]:
        return {
            "examples": png_uri(figures.examples(self)),
            "spectra": svg_uri(figures.spectra(self)),
            "verdict": sentences.verdict(self),
            "physics": sentences.physics(self),
            "calibration": sentences.calibration(self),
            "steps": STEPS,
            "lit": LIT,
        }


class RestoredGathering(Gathering):
    """Measures every finer image in physical units, on the pixels that the network sees; bad ones do not count."""

    evaluation: ClassVar[type[Evaluation]] = RestoredEvaluation
    fields: ClassVar[tuple[str, ...]] = ("high_res", "std")

    def __init__(self, run: Run, name: str, seed: int):
        super().__init__(run, name, seed)
        self.kept: dict[str, list[Tensor]] = {}
        self.examples: list[Example] = []
        self.scales: set[float | None] = set()
        self.factor = 0

    def check(self, batch: LensBatch) -> None:
        if batch.high_res is None:
            raise InputError(
                f"evaluation {self.name!r}: the images come without finer ones to compare with; it takes pairs, of the "
                "simulator, of a folder with LR and HR in it, or binned (data.pairs)"
            )

    def take(self, prediction: Any, batch: LensBatch, seen: LensBatch) -> None:
        factor = factor_of(seen)
        if factor is None or prediction.high_res.shape != seen.high_res.shape:  # pyright: ignore
            raise InputError(
                f"evaluation {self.name!r}: the finer images are of {tuple(seen.high_res.shape[-2:])} pixels, "  # pyright: ignore
                f"those that the run gives of {tuple(prediction.high_res.shape[-2:])}"
            )
        self.factor = factor
        physical = self.run.transform.inverse(seen)
        true = physical.high_res
        assert true is not None
        good = torch.ones_like(true, dtype=torch.bool)
        if seen.mask is not None:
            good = ~seen.mask.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
        found, above = (self._physical(seen, of) for of in (prediction.high_res, prediction.high_res + prediction.std))
        std = (above - found).clamp_min(1e-30)
        images = {OURS: found} | _without_network(physical, factor)
        scale = None if physical.pixel_scale is None else physical.pixel_scale / factor
        for name, image in images.items():
            image = torch.where(good, image, true)
            self._keep(name, psnr=psnr(image, true), ssim=ssim(image, true), flux=flux_error(image, true))
            self._keep(name, power=power(image, BINS), **_ring(image, true, scale))
        self._keep("true", power=power(true, BINS))
        sigmas = (found - true).abs() / std
        peak = true.flatten(1).amax(1).view(-1, 1, 1, 1)
        for where, counts in (("", good), ("lit", good & (true > LIT * peak))):
            shares = {f"coverage_{share}": _share(sigmas < width, counts) for share, width in WIDTHS.items()}
            self._keep(where, **shares)
        if physical.psf is not None and physical.noise_std is not None and bool((physical.noise_std > 0).all()):
            self._keep(OURS, chi2=chi_square(found, physical, factor))
        self.scales |= {None} if scale is None else {round(float(s), 6) for s in scale}
        for row in range(min(len(seen), SHOWN - len(self.examples))):
            name = seen.ids[row] if seen.ids else f"image {row}"
            nearest = physical.images.repeat_interleave(factor, 2).repeat_interleave(factor, 3) / factor**2
            planes = (nearest, images["bicubic"], found, true, (found - true) / std)
            self.examples.append(Example(name, *(plane[row].mean(0).double().cpu().numpy() for plane in planes)))

    def conclude(self, **common: Any) -> RestoredEvaluation:
        each = {name: torch.cat(parts).double().numpy() for name, parts in self.kept.items()}
        count = len(each["psnr"])
        return RestoredEvaluation(
            **common,
            each=each,
            found=bootstrap(RestoredEvaluation.weighed(each), count, seed=self.seed),
            factor=self.factor,
            pixel_scale=self.scales.pop() if len(self.scales) == 1 else None,
            frequencies=(np.arange(BINS) + 0.5) / (2 * BINS),
            binned=getattr(self.run.config.data, "pairs", "given") == "binned",
            examples=tuple(self.examples),
        )

    def _physical(self, seen: LensBatch, high_res: Tensor) -> Tensor:
        found = self.run.transform.inverse(replace(seen, high_res=high_res)).high_res
        assert found is not None
        return found

    def _keep(self, of: str, **measured: Tensor) -> None:
        for what, values in measured.items():
            self.kept.setdefault(_named(what, of), []).append(values.detach().cpu())


def _without_network(batch: LensBatch, factor: int) -> dict[str, Tensor]:
    """What interpolation says and, of images with a PSF that is no point, deconvolution."""
    found = {how: enlarged(batch.images, factor, how) for how in ("bilinear", "bicubic")}
    if batch.psf is not None and batch.psf.shape[-2:] != (1, 1):
        found["richardson_lucy"] = richardson_lucy(batch.images, batch.psf, factor, noise_std=batch.noise_std)
    return found


def _ring(image: Tensor, true: Tensor, scale: Tensor | None) -> dict[str, Tensor]:
    """By how much the radius and the width of the ring are off, arcsec, or pixels without a scale."""
    ours, theirs = (trivial_features(LensBatch(planes, pixel_scale=scale)) for planes in (image, true))
    columns = {name: FEATURES.index(feature) for name, feature in RING.items()}
    return {name: (ours - theirs)[:, column] for name, column in columns.items()}


def _share(true: Tensor, counts: Tensor) -> Tensor:
    return (true & counts).flatten(1).sum(1) / counts.flatten(1).sum(1).clamp_min(1)


def _named(what: str, method: str) -> str:
    return f"{what}_{method}" if method else what


def _numbers(each: Mapping[str, NDArray[Any]], weights: Array) -> dict[str, Array]:
    """The numbers of a result for weights (R, N) of its images, (R,) each."""
    total = weights.sum(1)
    methods = [OURS, *(name for name in RIVALS if f"psnr_{name}" in each)]
    averages = {name: weights @ each[name] / total for name in each if name.startswith(("coverage_", "chi2"))}
    found = {}
    for method in methods:
        for what in ("psnr", "ssim"):
            found[_named(what, method)] = weights @ each[_named(what, method)] / total
        for what in ("flux", *RING):
            number = "flux_error" if what == "flux" else what
            found[_named(number, method)] = _median(np.abs(each[_named(what, method)]), weights)
        found[_named("flux_bias", method)] = weights @ each[_named("flux", method)] / total
    for what in ("psnr", "ssim"):
        for method in methods[1:]:
            found[f"{what}_above_{method}"] = found[what] - found[_named(what, method)]
    beyond = slice(each["power_true"].shape[1] // 2, None)
    true = (weights @ each["power_true"])[:, beyond].sum(1)
    for method in methods:
        found[_named("power_ratio", method)] = (weights @ each[_named("power", method)])[:, beyond].sum(1) / true
    return found | averages


def _median(values: Array, weights: Array) -> Array:
    """The median of values (N,) for weights (R, N)."""
    order = values.argsort()
    reached = weights[:, order].cumsum(1)
    return values[order][(reached >= reached[:, -1:] / 2).argmax(1)]

"""What the numbers of finer images say, in words that are generated from them and cannot contradict them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arcformer.studies.comparison import difference
from arcformer.studies.sentences import signed, with_interval

if TYPE_CHECKING:
    from arcformer.studies.restoration.evaluation import RestoredEvaluation

__all__ = ["agreement", "calibration", "physics", "summary", "verdict"]

FAITHFUL = (0.9, 1.1)
"""Between these, what would have been seen of the finer image is as far from what was seen as noise is."""

TOLERATED = 0.05
"""By how much coverage may be off."""

HELD = {"68": 0.6827, "95": 0.95}


def summary(evaluation: RestoredEvaluation) -> str:
    """The result in a sentence or two: how near to the truth, beside interpolation, and what became of the flux."""
    found = evaluation.found
    rivals = ", ".join(f"{words} {with_interval(found[f'psnr_{name}'])}" for name, words in evaluation.rivals.items())
    return (
        f"On {evaluation.about}, made {evaluation.factor} times as fine, the network reaches a PSNR of "
        f"{with_interval(found['psnr'])} dB and an SSIM of {with_interval(found['ssim'])}; PSNR of {rivals}. The total "
        f"flux is off by {100 * found['flux_error'].value:.2f} % in the median."
    )


def verdict(evaluation: RestoredEvaluation) -> str:
    """Whether the network is better than what needs none."""
    gains = {name: evaluation.found[f"psnr_above_{name}"] for name in evaluation.rivals}
    name = min(gains, key=lambda rival: gains[rival].value)
    gain, words = gains[name], evaluation.rivals[name]
    if gain.low > 0:
        return f"On the same images the network is {signed(gain)} dB above the best method without one, {words}."
    if gain.high < 0:
        return f"On the same images the network stays behind {words}, by {signed(gain)} dB: it is of no use here."
    return f"On the same images the network and {words} are alike ({signed(gain)} dB)."


def physics(evaluation: RestoredEvaluation) -> str:
    """Whether flux, ring and what was seen survive."""
    found = evaluation.found
    unit = "arcsec" if evaluation.pixel_scale is not None else "pixels"
    text = (
        f"Total flux: off by {100 * found['flux_error'].value:.2f} % in the median (bicubic "
        f"{100 * found['flux_error_bicubic'].value:.2f} %), {100 * found['flux_bias'].value:+.2f} % on average. "
        f"The ring: its radius is off by {with_interval(found['theta_E_error'])} {unit} (bicubic "
        f"{with_interval(found['theta_E_error_bicubic'])}), its width by {with_interval(found['ring_width_error'])} "
        f"({with_interval(found['ring_width_error_bicubic'])})."
    )
    chi2 = found.get("chi2")
    if chi2 is None:
        return f"{text} How well it agrees with what was seen is not known: there is no PSF, or no noise."
    if evaluation.binned:
        return (
            f"{text} Summed to pixels it is {with_interval(chi2)} of the noise's variance away from what was seen; as "
            "that noise is in the finer images too, less is better."
        )
    low, high = FAITHFUL
    if low <= chi2.value <= high:
        words = "as it should be"
    else:
        words = "more than noise explains" if chi2.value > high else "noise is fitted"
    return f"{text} Seen through the PSF, its reduced chi-square to the input is {with_interval(chi2)}: {words}."


def calibration(evaluation: RestoredEvaluation) -> str:
    """Whether the uncertainty can be taken at its word."""
    shares = {percent: evaluation.found[f"coverage_{percent}"] for percent in HELD}
    off = {percent: share.value - HELD[percent] for percent, share in shares.items()}
    worst = max(off, key=lambda percent: abs(off[percent]))
    if abs(off[worst]) <= TOLERATED:
        return f"The uncertainty holds as many pixels as it says, within {abs(off[worst]):.3f}."
    kind = "narrow" if off[worst] < 0 else "wide"
    return (
        f"The uncertainty is too {kind}: {worst} % of the pixels were to be within "
        f"{'one' if worst == '68' else '1.96'} sigma, and a share of {with_interval(shares[worst])} is."
    )


def agreement(first: RestoredEvaluation, second: RestoredEvaluation) -> str:
    """Whether ``second`` agrees with ``first``, by the differences of their numbers."""
    said, differing = [], 0
    for name, words in (("psnr", "PSNR"), ("psnr_above_bicubic", "PSNR above bicubic"), ("ssim", "SSIM")):
        one, other = (evaluation.found[name] for evaluation in (first, second))
        gap = difference(other, one)
        differing += not gap.low <= 0 <= gap.high
        said.append(f"the {words} is {with_interval(other)} against {with_interval(one)} ({signed(gap)})")
    text = f"On {second.about}, compared with {first.about}: {', '.join(said)}."
    if not differing:
        return f"{text} The two agree within their uncertainty."
    return f"{text} In {differing} of {len(said)} numbers the two differ by more than their uncertainty."

"""A hundred lenses of one share of subhalos, each of which tells hardly anything, and what they tell together."""

import torch

from arcformer.sim.named_priors import prior_of
from arcformer.sim.presets import PRESETS
from arcformer.studies.population import Ratios, scattered, shared

TRUTH, ERROR = -1.5, 0.4  # log10 f_sub, and how well a single lens measures it, dex

prior = prior_of(PRESETS.get("corrected/model-1-deep"), "log10_f_sub")


def measure(lenses: int, spread: float = 0.0) -> Ratios:
    """Their likelihoods; of images, ``log_ratios`` takes them from the posterior of a trained network."""
    noise = torch.randn(2, lenses, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    measured = TRUTH + spread * noise[0] + ERROR * noise[1]
    return Ratios.of(prior, lambda values: -((values - measured[:, None]) ** 2) / (2 * ERROR**2))


if __name__ == "__main__":
    for lenses in (1, 10, 100, 1000):
        low, high = shared(measure(lenses)).interval(0.95)
        print(f"{lenses:5} lenses: log10 f_sub between {low:.3f} and {high:.3f} (95 %), true is {TRUTH}")
    mean, spread = scattered(measure(1000, spread=0.2))
    print(f"1,000 lenses scattered by 0.2 dex: mean {mean.mean:.3f}, spread {spread.mean:.3f}")

"""Does the simulator agree with lenstronomy, and its noise with what is stated of it?

    python benchmarks/parity.py --json parity.json

``parity PRESET CLASS``: max|difference| / peak of noise-free images, the worst of the draws, against lenstronomy with
identical parameters, PSF included; in float64, and in float32 as images are made. Expected at most 1e-5 in float64, and
1e-4 in float32, in which truncated NFW halos are approximated. corrected/* and survey/* are without their projection,
as lenstronomy has none, nor a vortex; ``empirical`` is with a PSF that is an image, where no edge is near.

``noise_variance PRESET CLASS``: variance of the noise over that which the preset states, mean over the draws, at
pixels where clipping at zero plays no role. Expected within 1 % of 1.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch
from oracle import ORACLES, SCIENCE, Oracle, rows
from rows import Row, emit

from arcformer.randomness import stream
from arcformer.sim.instrument import PixelPSF
from arcformer.sim.presets import PRESETS, Preset
from arcformer.sim.render import can_compile, clean_images, draw

UNCLIPPED = 5.0
"""How many standard deviations above zero a pixel must be expected for clipping not to touch it."""


def parity(preset: Preset, oracle: Oracle, name: str, draws: int, seed: int, what: str = "") -> list[Row]:
    """Worst differences of one class, in float64 and float32."""
    parameters = draw(preset, torch.full((draws,), preset.classes.index(name)), seed, "parity")
    theirs = torch.stack([torch.from_numpy(oracle.image(oracle.keywords(row))) for row in rows(parameters)])
    peaks = theirs.amax((1, 2))
    found = []
    # near its edge an image is continued for an empirical PSF, by lenstronomy with zeros
    edge = 0 if oracle.empirical_psf is None else len(oracle.empirical_psf) // 2
    inside = slice(edge, theirs.shape[-1] - edge)
    for label, dtype, compiled in (("", torch.float64, False), (" float32", torch.float32, can_compile())):
        ours = clean_images(preset, parameters, dtype=dtype, compiled=compiled)[:, 0]
        worst = ((ours - theirs)[:, inside, inside].abs().amax((1, 2)) / peaks).max().item()
        found.append(Row(f"parity {preset.name} {name}{what}{label}", worst, "of the peak"))
    return found


def empirical(preset: Preset, oracle: Oracle) -> tuple[Preset, Oracle]:
    """The same with a PSF that is an image: lopsided, with a spike."""
    axis = torch.arange(21, dtype=torch.float64) - 10
    image = (-(axis[:, None] ** 2 / 4 + (axis - 0.4) ** 2 / 7)).exp() + 0.02 * (axis[:, None] == axis).double()
    image = image / image.sum()
    seen = replace(preset.instrument, psf=PixelPSF(image, preset.pixel_scale))
    return replace(preset, instrument=seen), replace(oracle, empirical_psf=image.numpy())


def noise_variance(preset: Preset, name: str, draws: int, repeats: int, seed: int) -> Row:
    """Measured over stated variance of the noise, from repeated observations of the same lenses."""
    noise = preset.instrument.noise
    parameters = draw(preset, torch.full((draws,), preset.classes.index(name)), seed, "noise")
    clean = clean_images(preset, parameters)
    known = {key: parameters[key].to(clean) for key in parameters.keys() & {"exposure"}}
    mean, std = noise.mean(clean, known), noise.std(clean, known)
    unclipped = mean > UNCLIPPED * std
    squares = torch.zeros_like(clean, dtype=torch.float64)
    for k in range(repeats):
        images = noise.observe(clean, known, stream(seed, "noise", name, k))
        squares += (images - mean).double().square()
    ratio = (squares / repeats / std.double().square())[unclipped].mean().item()
    return Row(f"noise_variance {preset.name} {name}", ratio, "of the stated")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    parser.add_argument("--draws", type=int, default=20, help="lenses of every preset and class (default 20)")
    parser.add_argument("--repeats", type=int, default=200, help="observations of each for the noise (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    chosen = parser.parse_args()

    found = []
    for name, oracle in ORACLES.items():
        preset = PRESETS.get(name)
        for one in preset.classes:
            found += parity(preset, oracle, one, chosen.draws, chosen.seed)
    for name, oracle in SCIENCE.items():
        preset = replace(PRESETS.get(name), projected=False)
        for one in ("no_sub", "cdm"):
            found += parity(preset, oracle, one, chosen.draws, chosen.seed)
        if name == "corrected/model-1":
            found += parity(*empirical(preset, oracle), "no_sub", chosen.draws, chosen.seed, " empirical")
    found += [
        noise_variance(preset, name, chosen.draws, chosen.repeats, chosen.seed)
        for preset in map(PRESETS.get, (*ORACLES, *SCIENCE))
        if preset.instrument.noise.draw(1, stream(0))  # an exposure, and so noise
        for name in preset.classes
    ]
    emit(found, chosen.json)


if __name__ == "__main__":
    main()

"""How exactly the transformers keep what they promise, each against something that does not share its code.

    python benchmarks/oracles.py --json results/oracles.json     half a minute
    python benchmarks/quote.py models                            docs/models.md quotes it

``difference CASE DTYPE``: greatest difference of our feature maps to those of transformers' model with the same
weights, drawn at random, all stages and images; ``relative_difference`` is that over the largest value of the map.
``equivariance BACKBONE PIXELS DTYPE``: how far the map of a turned image is from the turned map, the worst of the eight
symmetries of the square, over its largest value; ``invariance`` is that of the mean over the cells. ``vit``, which
promises neither, stands beside. ``deflection``: of the lens of ``sourceformer``, its greatest difference to the
simulator's in float64, over many lenses, in half widths of the image. ``bits``: how many of its features and gradients
differ when they are worked out again.

All in float32 and float64, without a compiler.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import torch
from peers import PUBLISHED, SMALL, features
from rows import Row, emit
from symmetry import equivariance_error, invariance_error, random_weights
from torch import Tensor

from arcformer.models import BACKBONES, Sourceformer
from arcformer.models.source_plane import _places, bounded, deflection
from arcformer.sim.lens import Macromodel
from arcformer.training.provenance import device_name

__all__ = ["BOTH", "bits", "deflections"]

BOTH = {"float32": torch.float32, "float64": torch.float64}

SIDES = ((64, 64), (150, 150), (37, 37), (13, 20), (37, 45))
"""Even sides and odd ones, square and not, that a patch of 8 divides and does not."""


def differences() -> Iterator[Row]:
    """Against transformers."""
    for name, case in (SMALL | PUBLISHED).items():
        for label, dtype in BOTH.items():
            gaps = [((ours - theirs).abs().max(), theirs.abs().max()) for ours, theirs in features(case, dtype)]
            yield Row(f"difference {name} {label}", max(float(gap) for gap, _ in gaps), "")
            yield Row(f"relative_difference {name} {label}", max(float(gap / most) for gap, most in gaps), "")


def symmetries(seed: int) -> Iterator[Row]:
    """Of what turns with the image, and of what does not."""
    for name in ("d4vit", "vit"):
        for label, dtype in BOTH.items():
            torch.manual_seed(seed)
            backbone = random_weights(BACKBONES.get(name)(64, 1)).to(dtype)
            for height, width in SIDES:
                generator = torch.Generator().manual_seed(seed)
                images = torch.randn(2, 1, height, width, generator=generator).to(dtype)
                about = f"{name} {height}x{width} {label}"
                yield Row(f"equivariance {about}", equivariance_error(backbone, images), "of the largest")
                yield Row(f"invariance {about}", invariance_error(backbone, images), "of the largest")


def deflections(dtype: torch.dtype, lenses: int, seed: int) -> tuple[Tensor, Tensor]:
    """Deflection (2, B, P) of drawn lenses by ``sourceformer`` without its core, and by the simulator in float64."""
    raw = 2 * torch.randn(lenses, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    drawn = bounded(raw)
    others = {name: torch.zeros(lenses) for name in ("m3", "m4", "m3_angle", "m4_angle")}
    others |= {"slope": torch.ones(lenses), "lens_x": drawn["x"], "lens_y": drawn["y"]}
    peer = Macromodel(*Macromodel.of({**drawn, **others}).stacked().double()[..., None])
    x, y = _places((15, 20), torch.device("cpu"))
    theirs = torch.stack(peer.deflection(x.double(), y.double()))
    ours = deflection({name: value.to(dtype) for name, value in drawn.items()}, x.to(dtype), y.to(dtype), core=0.0)
    return torch.stack(ours), theirs


def bits(seed: int) -> int:
    """Features and gradients of ``sourceformer`` that are not the same a second time, of 37 x 45 pixels."""
    found = []
    for _ in range(2):
        torch.manual_seed(seed)
        backbone = random_weights(Sourceformer(64, 2, size="tiny"))
        map_ = backbone(torch.randn(2, 2, 37, 45))[0].x
        (map_ * torch.linspace(-1, 1, map_.numel()).view_as(map_)).sum().backward()
        found.append([map_.detach(), *(p.grad for p in backbone.parameters() if p.grad is not None)])
    return sum(int((a != b).sum()) for a, b in zip(*found, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the rows there, with date, device, seed and commit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lenses", type=int, default=1000, help="of the deflection (default 1000)")
    chosen = parser.parse_args()
    rows = [*differences(), *symmetries(chosen.seed)]
    for label, dtype in BOTH.items():
        ours, theirs = deflections(dtype, chosen.lenses, chosen.seed)
        rows.append(Row(f"deflection sourceformer {label}", float((ours - theirs).abs().max()), "half widths"))
    rows.append(Row("bits sourceformer float32", bits(chosen.seed), "numbers"))
    emit(rows, chosen.json, {"device": device_name(torch.device("cpu")), "seed": chosen.seed, "lenses": chosen.lenses})


if __name__ == "__main__":
    main()

"""What a smooth lens explains of an image is found, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from arcformer.sim.galaxies import Galaxy
from arcformer.sim.instrument import pixel_grid
from arcformer.sim.light import brightness, light_derivatives, sersics
from arcformer.sim.presets import PRESETS
from arcformer.sim.refit import explained, sums
from arcformer.sim.render import clean_images, draw

X, Y = (axis.flatten() for axis in pixel_grid(24, 0.2, torch.float64, torch.device("cpu")))
GALAXY = ("amplitude", "x", "y", "size", "index", "e1", "e2")
CLUMP = ("amplitude", "x", "y", "size")


def a_draw(preset: str = "corrected/model-1", label: int = 0, core: float = 0.1) -> dict[str, torch.Tensor]:
    chosen = PRESETS.get(preset)
    assert isinstance(chosen.source, Galaxy)
    return draw(replace(chosen, source=replace(chosen.source, core=core)), torch.full((2,), label), 5)


def test_what_is_made_of_derivatives_comes_back_and_what_is_orthogonal_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    by_source, by_lens = (torch.randn(2, k, 50, generator=generator, dtype=torch.float64) for k in (3, 2))
    root = torch.rand(2, 50, generator=generator, dtype=torch.float64) + 0.5
    steps = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    rows = torch.cat([by_source, by_lens], dim=1) * root[:, None]
    other = torch.randn(2, 1, 50, generator=generator, dtype=torch.float64)
    other = other - torch.linalg.solve(rows @ rows.mT, rows @ other.mT).mT @ rows
    change = (steps[:, None] @ rows + other)[:, 0] / root
    held = torch.zeros(2, 1, 50, dtype=torch.float64)
    assert torch.allclose(explained(change, by_source, by_lens, root, held, compiled=False), steps, atol=1e-3)


def test_sums_over_the_light_are_held() -> None:
    generator = torch.Generator().manual_seed(1)
    by_source, by_lens = (torch.randn(2, k, 50, generator=generator, dtype=torch.float64) for k in (20, 20))
    change, root = torch.randn(2, 50, generator=generator, dtype=torch.float64), torch.ones(2, 50, dtype=torch.float64)
    held = torch.rand(2, 3, 50, generator=generator, dtype=torch.float64)

    def left(held: torch.Tensor, weights: torch.Tensor) -> float:
        steps = explained(change, by_source, by_lens, root, held, compiled=False)
        rest = change - (steps[:, None] @ torch.cat([by_source, by_lens], dim=1))[:, 0]
        return float((rest[:, None] @ weights.mT).abs().max())

    assert left(held, held) < 0.05 * left(torch.zeros_like(held), held)


def test_sums_count_what_stands_out_of_the_sky() -> None:
    """Against the mean of what is above three standard deviations in many noisy copies."""
    light, sky = torch.linspace(0, 6, 25, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    place = torch.zeros(25, dtype=torch.float64)
    weights = sums(light[None], sky, place, place, compiled=False)[0, 0]
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(200_000, 1, generator=generator, dtype=torch.float64)

    def counted(light: torch.Tensor) -> torch.Tensor:
        return torch.where(light + noise > 3, light + noise, 0.0).mean(0)

    assert torch.allclose((counted(light + 0.05) - counted(light - 0.05)) / 0.1, weights, atol=0.05)


@pytest.mark.parametrize("core", [0.0, 0.1])
def test_derivatives_of_light_are_those_of_its_brightness(core: float) -> None:
    """Each by its parameter is in the span of those given: they are right up to a factor."""
    drawn = a_draw(core=core)
    total, gradient, changes = light_derivatives(sersics(drawn, "source"), X, Y)
    assert torch.allclose(total, brightness(sersics(drawn, "source"), X, Y))

    def shine(values: torch.Tensor, name: str, k: int) -> torch.Tensor:
        moved = drawn[name].clone()
        moved.view(len(moved), -1)[:, k] = values
        return brightness(sersics(drawn | {name: moved}, "source"), X, Y)

    basis = torch.stack(changes, dim=2)
    for name in [f"source_{p}" for p in GALAXY] + [f"source_clump_{p}" for p in CLUMP]:
        for k in range(drawn[name][0].numel()):
            values = drawn[name].view(2, -1)[:, k]
            step = 1e-6 * torch.ones_like(values)
            truth = (shine(values + step, name, k) - shine(values - step, name, k))[..., None] / 2e-6
            left = truth - basis @ torch.linalg.lstsq(basis, truth).solution
            assert float((left.norm(dim=1) / truth.norm(dim=1)).max()) < 1e-2, (name, k)  # where it is a cusp
    ahead, behind = (brightness(sersics(drawn, "source"), X + step, Y) for step in (1e-6, -1e-6))
    assert float(((ahead - behind) / 2e-6 - gradient[0]).norm() / gradient[0].norm()) < 1e-2


@pytest.mark.parametrize("preset", ["corrected/model-1", "corrected/model-4"])
def test_a_change_of_the_smooth_lens_cannot_be_seen_in_what_is_left(preset: str) -> None:
    """The signal of an image is orthogonal, in its noise, to what each parameter of the lens would do to it.

    But for what it takes to hold the sums over the light, and for light that would be negative.
    """
    drawn, preset_ = a_draw(preset, label=2), PRESETS.get(preset)
    smooth = drawn | {"line_count": torch.zeros(2, dtype=torch.int64)}
    size = 64

    def image(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        return clean_images(preset_, parameters, pixels=size, dtype=torch.float64, compiled=False)

    clean = image(smooth)
    noise = preset_.instrument.noise
    exposure = {name: p for name, p in drawn.items() if name == "exposure"}
    weight = noise.mean(torch.ones_like(clean), exposure) / noise.std(clean, exposure)
    signal = ((image(drawn) - clean) * weight).flatten(1)
    assert float(signal.norm(dim=1).min()) > 1.0
    for name, step in (("theta_E", 1e-5), ("slope", 1e-5), ("e1", 1e-5), ("source_x", 1e-5), ("source_size", 1e-5)):
        ahead, behind = (image(smooth | {name: drawn[name] + sign * step}) for sign in (1, -1))
        change = ((ahead - behind) * weight).flatten(1)
        cosine = (signal * change).sum(1) / (signal.norm(dim=1) * change.norm(dim=1))
        assert float(cosine.abs().max()) < 0.2, name

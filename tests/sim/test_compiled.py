"""Compiled and eager rendering give the same images but for rounding, and the same counts."""

from __future__ import annotations

import pytest
import torch

from arcformer.sim.kernels import can_compile, kernel
from arcformer.sim.poisson import poisson_quantile
from arcformer.sim.presets import PRESETS
from arcformer.sim.render import clean_images, draw, simulate


@pytest.fixture
def compiler(monkeypatch):
    monkeypatch.delenv("ARCFORMER_EAGER")
    if not can_compile():
        pytest.skip("no C++ compiler is at hand")


def test_a_compiler_is_looked_for_and_can_be_switched_off(monkeypatch, tmp_path):
    (tmp_path / "my-compiler").write_text("#!/bin/sh\n")
    (tmp_path / "my-compiler").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not can_compile()
    monkeypatch.delenv("ARCFORMER_EAGER")
    assert not can_compile()
    monkeypatch.setenv("CXX", "my-compiler")
    assert can_compile()


def test_a_kernel_that_is_not_compiled_is_the_function():
    @kernel
    def double(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    assert double.__name__ == "double"
    assert double(torch.ones(2), compiled=False).tolist() == [2, 2]
    assert double(torch.ones(2)).tolist() == [2, 2]


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_images_are_equal_within_rounding():
    for name in ("deeplense/model-1", "deeplense/model-2", "deeplense/model-3"):
        preset = PRESETS.get(name)
        for count in (40, 3, 1):
            parameters = draw(preset, torch.arange(count) % 3, 8)
            one, other = (clean_images(preset, parameters, compiled=compiled) for compiled in (True, False))
            peak = other.amax((1, 2), keepdim=True)
            assert ((one - other).abs() / peak).max() < 1e-5, (name, count)


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_counts_are_the_same_counts(monkeypatch):
    rates = 10 ** torch.linspace(-3, 4, 200_000)
    normal = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    compiled = poisson_quantile(rates, normal)
    monkeypatch.setenv("ARCFORMER_EAGER", "1")
    assert poisson_quantile(rates, normal).equal(compiled)


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_compiled_batches_are_repeatable_and_noisy_as_stated():
    batch = simulate("deeplense/model-1", 30, seed=9, truth=True)
    assert simulate("deeplense/model-1", 30, seed=9).images.equal(batch.images)
    bright = batch.extras["clean"] > 5 * batch.noise_std
    residual = ((batch.images - batch.extras["clean"]) / batch.noise_std)[bright]
    assert residual.std().item() == pytest.approx(1, abs=0.03)

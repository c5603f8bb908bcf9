"""What is behind an image has the mass and the light that was drawn."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from arcformer.sim.behind import substructure_convergence, unlensed_images
from arcformer.sim.light import sersic_flux
from arcformer.sim.presets import PRESETS
from arcformer.sim.render import draw


def drawn(name: str, labels: list[int]):
    preset = PRESETS.get(name)
    return preset, draw(preset, torch.tensor(labels), 5)


def test_the_convergence_of_point_masses_adds_up_to_their_masses():
    preset, parameters = drawn("deeplense/model-1", [0, 1, 1])
    kappa = substructure_convergence(preset, parameters)
    assert kappa.shape == (3, 150, 150)
    assert not kappa[0].any()
    inside = (parameters["point_x"].abs() < 3.5) & (parameters["point_y"].abs() < 3.5)
    masses = math.pi * (parameters["point_theta_E"][1:].square() * inside[1:]).sum(1)  # over the critical density
    torch.testing.assert_close(kappa[1:].sum((1, 2)) * 0.05**2, masses, rtol=0.02, atol=0)


def test_a_vortex_lies_where_it_was_drawn():
    preset, parameters = drawn("corrected/model-1", [2] * 8)
    preset = replace(preset, projected=False)  # what is taken away has its peak at the centre of the lens
    brightest = substructure_convergence(preset, parameters, pixels=140).flatten(1).argmax(1)
    y, x = (((part - 69.5) * 0.05).double() for part in (brightest // 140, brightest % 140))
    dx, dy = x - parameters["line_x"][:, 0], y - parameters["line_y"][:, 0]
    angle = parameters["line_angle"][:, 0]
    across, along = dy * angle.cos() - dx * angle.sin(), dx * angle.cos() + dy * angle.sin()
    assert (across.abs() < 0.05).all()
    assert (along.abs() < parameters["line_half_length"][:, 0] + 0.05).all()


@pytest.mark.parametrize("name", ["deeplense/model-1", "corrected/model-3", "survey/jwst"])
def test_an_unlensed_source_has_the_flux_that_was_drawn(name: str):
    preset, parameters = drawn(name, [0, 1])
    names = ["source", *(["source_clump"] if "source_clump_size" in parameters else [])]
    parameters["source_index"].fill_(1)  # of a disc all light is inside, and no cusp is undersampled
    parameters["source_size"].fill_(0.3)
    for part in names:
        parameters[f"{part}_size"].fill_(0.3)
    core = parameters.get("source_core", torch.zeros(2, dtype=torch.float64))[:, None]
    expected = 0.0
    for part in names:
        amplitude, size, index = (parameters[f"{part}_{key}"].view(2, -1) for key in ("amplitude", "size", "index"))
        expected = expected + (amplitude * sersic_flux(size, index, core)).sum(1)
    images = unlensed_images(preset, parameters)
    torch.testing.assert_close(images.sum((1, 2, 3)), expected, rtol=0.01, atol=0)

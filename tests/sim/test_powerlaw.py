"""The elliptical power law and its multipoles against caustics and lenstronomy."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch
from caustics.lenses.func import reduced_deflection_angle_epl, reduced_deflection_angle_multipole
from lenstronomy.LensModel.lens_model import LensModel

from arcformer.sim.lens import Macromodel
from arcformer.sim.powerlaw import epl_deflection, multipole_deflections, plus, scaled

AXIS = torch.linspace(-3, 3, 40, dtype=torch.float64)
Y, X = (part.flatten() for part in torch.meshgrid(AXIS, AXIS, indexing="ij"))


def column(value: float) -> torch.Tensor:
    return torch.tensor([[value]], dtype=torch.float64)


@pytest.mark.parametrize(("q", "slope"), [(0.7, 1.0), (0.5, 1.2), (0.9, 0.8), (0.999, 1.05)])
def test_the_power_law_is_that_of_caustics(q: float, slope: float) -> None:
    ours = epl_deflection(column(1.3), column(slope), column(q), X, Y)
    number = [torch.tensor(v, dtype=torch.float64) for v in (0.0, 0.0, q, 0.0, 1.3, slope)]
    theirs = reduced_deflection_angle_epl(*number, X, Y, 60, 1)
    for own, other in zip(ours, theirs, strict=True):
        assert float((own[0] - other).abs().max()) < 1e-6


@pytest.mark.parametrize("order", [3, 4])
def test_multipoles_are_those_of_caustics(order: int) -> None:
    angle = 0.4
    along, across = multipole_deflections(order, X, Y)
    ours = plus(scaled(0.02 * math.cos(order * angle), along), scaled(0.02 * math.sin(order * angle), across))
    number = [torch.tensor(v, dtype=torch.float64) for v in (0.0, 0.0)]
    rows = [torch.tensor([v], dtype=torch.float64) for v in (float(order), 0.02, angle)]
    theirs = reduced_deflection_angle_multipole(*number, *rows, X, Y)
    for own, other in zip(ours, theirs, strict=True):
        assert float((own - other).abs().max()) < 1e-12


LENS = {
    "theta_E": 1.4, "slope": 1.1, "e1": 0.12, "e2": -0.08, "lens_x": 0.05, "lens_y": -0.03, "gamma1": 0.04,
    "gamma2": -0.02, "m3": 0.01, "m3_angle": 0.7, "m4": -0.008, "m4_angle": 1.9,
}  # fmt: skip


def a_lens() -> Macromodel:
    lens = Macromodel.of({name: torch.tensor([value], dtype=torch.float64) for name, value in LENS.items()})
    return Macromodel.unstacked(lens.stacked())


def test_the_whole_macromodel_is_that_of_lenstronomy() -> None:
    p, ours = LENS, a_lens().deflection(X, Y)
    centre = {"center_x": p["lens_x"], "center_y": p["lens_y"]}
    theirs = LensModel(["EPL", "SHEAR", "MULTIPOLE", "MULTIPOLE"]).alpha(
        X.numpy(),
        Y.numpy(),
        [
            {"theta_E": p["theta_E"], "gamma": p["slope"] + 1, "e1": p["e1"], "e2": p["e2"], **centre},
            {"gamma1": p["gamma1"], "gamma2": p["gamma2"]},
            {"m": 3, "a_m": p["m3"] * p["theta_E"], "phi_m": p["m3_angle"], **centre, "r_E": 1.0},
            {"m": 4, "a_m": p["m4"] * p["theta_E"], "phi_m": p["m4_angle"], **centre, "r_E": 1.0},
        ],
    )
    for own, other in zip(ours, theirs, strict=True):
        assert float((own[0] - torch.from_numpy(other)).abs().max()) < 1e-6


def test_derivatives_are_those_of_the_deflection() -> None:
    lens = a_lens()
    derivatives = lens.derivatives(X, Y)
    angle = torch.atan2(lens.sine, lens.cosine)

    def moved(name: str, value: torch.Tensor) -> torch.Tensor:
        change = {"cosine": value.cos(), "sine": value.sin()} if name == "angle" else {name: value}
        return torch.stack(replace(lens, **change).deflection(X, Y))

    assert len(derivatives) == len(fields(lens)) - 1
    for name, ours in derivatives.items():
        at = angle if name == "angle" else getattr(lens, name)
        _, theirs = torch.func.jvp(lambda value, name=name: moved(name, value), (at,), (torch.ones_like(at),))
        assert torch.allclose(torch.stack([part.view(1, -1) for part in ours]), theirs, atol=1e-8), name

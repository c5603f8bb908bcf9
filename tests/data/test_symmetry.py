"""How parameters turn, against the simulator: a lens with turned parameters is the turned image of the lens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arcformer.data.augment import dihedral
from arcformer.data.symmetry import Turns, check_turns, has_rule
from arcformer.errors import InputError
from arcformer.randomness import stream
from arcformer.sim.presets import PRESETS
from arcformer.sim.render import clean_images, draw, simulate

LENSES = {  # with points off the centre; subhalos, clumps, projection; lens light, and sources at any place
    "deeplense/model-1": "cdm",
    "corrected/model-2": "cdm",
    "survey/lsst": "no_sub",
}
SIDE = 16
NAMES = ("theta_E", "lens_x", "lens_y", "e1", "e2", "gamma1", "gamma2", "source_x_arcsec", "source_y_arcsec")


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCFORMER_EAGER", "1")


def drawn(name: str, count: int = 2):
    """A preset and parameters of some of its lenses that have no angles."""
    preset = PRESETS.get(name)
    labels = torch.full((count,), preset.classes.index(LENSES[name]))
    parameters = draw(preset, labels, 4, "symmetry")
    parameters |= {"m3": 0 * parameters["m3"], "m4": 0 * parameters["m4"]}
    return preset, parameters


def rendered(preset, parameters, before):
    """The noise-free image; angles, of which none matters to these lenses, as they were before."""
    angles = {name: values for name, values in before.items() if not has_rule(name)}
    side = preset.central(SIDE if preset.pixel_scale > 0.15 else 40)
    return clean_images(preset, angles | parameters, pixels=side, dtype=torch.float64, compiled=False)


@pytest.mark.parametrize("name", LENSES)
def test_a_lens_with_turned_parameters_is_the_turned_image(name):
    preset, parameters = drawn(name)
    image = rendered(preset, parameters, parameters)
    seen = []
    for turns in Turns.eight():
        found = rendered(preset, turns.numbers(parameters), parameters)
        expected = turns.planes(image)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * image.max().item())
        seen.append(expected)
    apart = [(a - b).abs().max() for i, a in enumerate(seen) for b in seen[:i]]
    assert min(apart) > 1e-3 * image.max()


@pytest.mark.parametrize("symmetries", ["dihedral", "half-turn"])
def test_augmentation_turns_images_parameters_and_targets_alike(symmetries):
    preset = PRESETS.get("deeplense/model-1")
    batch = simulate(preset, 12, seed=1, labels=["cdm"] * 12, pixels=40, truth=True, compiled=False)
    turned = dihedral(batch, stream(3), symmetries)
    assert not torch.equal(turned.images, batch.images)
    exposure = turned.extras["exposure"].view(-1, 1, 1, 1)
    found = exposure * rendered(preset, turned.extras, batch.extras)
    torch.testing.assert_close(found.float(), turned.extras["clean"], rtol=1e-3, atol=1e-4 * float(found.max()))
    for k, name in enumerate(batch.target_names):
        if name in turned.extras:
            torch.testing.assert_close(turned.targets[:, k], turned.extras[name].float(), equal_nan=True)


@given(st.integers(0, 7), st.integers(0, 2**16))
def test_what_is_turned_is_turned_back(which, seed):
    turns = list(Turns.eight())[which]
    values = torch.randn(3, 5, len(NAMES), generator=torch.Generator().manual_seed(seed))
    planes = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(turns.inverse.values(turns.values(values, NAMES), NAMES), values)
    assert torch.equal(turns.inverse.planes(turns.planes(planes)), planes)


def test_the_first_of_the_eight_changes_nothing_and_no_two_are_alike():
    square = torch.arange(9.0).view(1, 3, 3)
    found = [tuple(turns.planes(square).flatten().tolist()) for turns in Turns.eight()]
    assert found[0] == tuple(range(9))
    assert len(set(found)) == 8


def test_half_a_turn_changes_the_signs_of_positions_alone():
    half = Turns(None, torch.tensor([True]), torch.tensor([True]))
    names = (*NAMES, "phi")
    changed = [
        n for n, v in zip(names, half.values(torch.ones(1, len(names)), names)[0].tolist(), strict=True) if v < 0
    ]
    assert changed == ["lens_x", "lens_y", "source_x_arcsec", "source_y_arcsec"]
    check_turns(("lens_x", "phi"), "half-turn", "augment")
    check_turns(("lens_x", "phi"), "none", "augment")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("source_x_arcsec", "source_y"), "makes 'source_x_arcsec' of 'source_y_arcsec', which is not there"),
        (("phi",), "'phi' is an angle"),
    ],
)
def test_what_cannot_be_turned_is_refused_with_the_option_that_asks_for_it(names, words):
    with pytest.raises(InputError, match=rf"^task\.views = 'dihedral': .*{words}.*task\.views = 'one'"):
        check_turns(names, "dihedral", "task.views", "one")


def test_parameters_without_a_rule_are_left_out():
    assert not has_rule("m3_angle")
    quarter = Turns(torch.tensor([True]), torch.tensor([False]), torch.tensor([False]))
    one = torch.ones(1)
    kept = quarter.numbers({"m3_angle": one, "lens_x": one, "point_x": one, "point_y": -one, "f_sub": one})
    assert {name: value.item() for name, value in kept.items()} == {"point_x": -1, "point_y": 1, "f_sub": 1}

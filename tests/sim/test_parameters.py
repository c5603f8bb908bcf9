"""Targets: all that a preset draws of them, in one order, with their units; and presets of some of their classes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from arcformer.errors import InputError
from arcformer.sim.parameters import SMOOTH_LENS, TARGETS, drawn_as, unit_of
from arcformer.sim.presets import PRESETS
from arcformer.sim.priors import Uniform
from arcformer.sim.render import draw, simulate
from arcformer.sim.substructure import NoSubstructure


@pytest.mark.parametrize("name", list(PRESETS))
def test_targets_are_what_is_drawn_in_the_order_of_all_presets(name: str) -> None:
    preset = PRESETS.get(name)
    assert [t for t in TARGETS if t in preset.targets] == list(preset.targets)
    labels = torch.arange(len(preset.classes)).repeat(3)
    drawn = draw(preset, labels, 3)
    assert set(preset.targets) == {t for t in TARGETS if drawn_as(t) in drawn and drawn[drawn_as(t)].ndim == 1}
    assert set(SMOOTH_LENS) <= set(preset.targets)
    batch = simulate(preset, seed=3, labels=labels, pixels=preset.pixels % 2 + 2)
    assert batch.targets is not None
    for target, found in zip(batch.target_names, batch.targets.T, strict=True):
        there = drawn[drawn_as(target)]
        torch.testing.assert_close(found, (there if target in drawn else there.log10()).float(), equal_nan=True)
        known = torch.tensor([preset.classes[k] in preset.classes_with(target) for k in labels])
        assert torch.equal(found.isfinite(), known)


def test_every_target_has_its_preset_and_those_of_milestone_three_are_there() -> None:
    drawn = {target for name in PRESETS for target in PRESETS.get(name).targets}
    assert drawn == set(TARGETS)
    assert PRESETS.get("corrected/warm").classes_with("log10_half_mode_mass") == ("wdm",)
    assert PRESETS.get("deeplense/model-1").classes_with("log10_axion_mass_eV") == ("axion",)
    assert "log10_halo_mass" in PRESETS.get("deeplense/halo-mass").targets


def test_a_vortex_lies_where_its_targets_say() -> None:
    batch = simulate("corrected/model-1", seed=5, labels=["axion"] * 4, pixels=4)
    assert batch.targets is not None
    for name, table in (("vortex_x", "line_x"), ("vortex_y", "line_y")):
        found = batch.targets[:, batch.target_names.index(name)]
        torch.testing.assert_close(found, batch.extras[table][:, 0].float())


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("theta_E", "arcsec"), ("source_x", "arcsec"), ("vortex_half_length", "arcsec"), ("e1", ""), ("f_sub", ""),
        ("log10_f_sub", "dex"), ("log10_axion_mass_eV", "dex"), ("axion_mass_eV", "eV"),
        ("log10_half_mode_mass", "dex"), ("log10_source_size", "dex"), ("source_magnitude", "mag"),
    ],
)  # fmt: skip
def test_units(name: str, unit: str) -> None:
    assert unit_of(name) == unit


@dataclass(frozen=True)
class Rings(NoSubstructure):
    """A population of a user's own."""

    def draw(self, lens, generator, geometry):
        count = (len(lens["theta_E"]),)
        return {
            "ring_width": Uniform(1.0, 2.0).draw(count, generator),
            "ring_angle": Uniform(0.0, 6.0).draw(count, generator),
        }


def test_numbers_of_a_population_of_ones_own_are_targets() -> None:
    preset = PRESETS.get("deeplense/model-2")
    own = replace(preset, populations={"no_sub": NoSubstructure(), "rings": Rings()})
    assert own.targets[-1] == "ring_width"
    assert "ring_angle" not in own.targets
    batch = simulate(own, seed=0, labels=["no_sub", "rings"], pixels=4)
    assert batch.targets is not None
    assert batch.targets[:, -1].isfinite().tolist() == [False, True]


@pytest.mark.parametrize("name", ["deeplense/model-1", "corrected/model-2", "deeplense/model-4"])
def test_of_some_classes_the_lenses_are_the_same(name: str) -> None:
    preset = PRESETS.get(name)
    some = preset.of_classes(["axion", "no_sub"])
    assert some.classes == ("no_sub", "axion")
    assert set(some.targets) == {t for t in preset.targets if set(preset.classes_with(t)) & set(some.classes)}
    labels = ["axion", "no_sub", "axion"]
    whole, part = (simulate(p, seed=4, labels=labels, pixels=16) for p in (preset, some))
    assert torch.equal(whole.images, part.images)
    assert [part.classes[k] for k in part.labels.tolist()] == labels
    assert preset.of_classes([]) is preset
    assert preset.of_classes(preset.classes[::-1]) is preset
    with pytest.raises(InputError, match=r"unknown class 'axoin' of preset .*did you mean 'axion'"):
        preset.of_classes(["axoin"])

"""Priors by the name of what they are of: the simulator draws as they say, and can be held at a value."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy import stats

from arcformer.errors import InputError
from arcformer.sim.named_priors import held_at, prior_of, typical
from arcformer.sim.presets import PRESETS
from arcformer.sim.priors import Fixed, LogUniform, Normal
from arcformer.sim.render import draw, draw_lens
from arcformer.sim.substructure import WarmSubhalos


def drawn(preset, name, count=400):
    """Values of a parameter, log or not, that the simulator draws, NaN where a lens has none."""
    labels = torch.arange(count) % len(preset.classes)
    values = draw(preset, labels, 7)[name.removeprefix("log10_")]
    return (values.log10() if name.startswith("log10_") else values)[values.isfinite()]


@pytest.mark.parametrize("preset", PRESETS.names(), ids=str)
def test_what_is_drawn_is_distributed_as_the_prior_of_its_name(preset):
    preset = PRESETS.get(preset)
    vary = 0
    follow = {"vortex_x", "vortex_y", *(["log10_source_amplitude"] if "source_magnitude" in preset.targets else [])}
    named = [name for name in preset.targets if name not in follow]  # from several other parameters
    for name in dict.fromkeys((*named, "theta_E", "source_x", "source_size", "log10_source_size", "gamma1")):
        values = drawn(preset, name)
        if values.unique().numel() < 3:
            with pytest.raises(InputError, match=r"is the same in all images|another prior"):
                prior_of(preset, name)
            continue
        prior = prior_of(preset, name)
        vary += 1
        shares = torch.linspace(0.001, 0.999, 2000, dtype=torch.float64)
        expected = prior.quantile(shares)
        ranks = torch.searchsorted(expected, values).double() / len(shares)
        assert stats.kstest(ranks.numpy(), "uniform").pvalue > 1e-3, name
        assert bool(prior.log_prob(values).isfinite().all()), name
    assert vary


@pytest.mark.parametrize(
    ("preset", "name", "value"),
    [
        ("corrected/model-1", "f_sub", 0.05),
        ("corrected/model-1", "log10_axion_mass_eV", -23.2),
        ("corrected/model-1", "log10_vortex_mass", 9.5),
        ("corrected/model-1", "theta_E", 1.4),
        ("deeplense/model-1", "log10_axion_mass_eV", -22.5),
        ("deeplense/model-1", "vortex_half_length", 0.3),
        ("deeplense/model-4", "e1", 0.2),
        ("survey/hst", "theta_E", 1.5),
        ("survey/hst", "source_y", -0.1),
    ],
)
def test_a_parameter_is_held_where_it_is_wanted(preset, name, value):
    preset = PRESETS.get(preset)
    held = held_at(preset, name, value)
    values = drawn(held, name, 30)
    torch.testing.assert_close(values, torch.full_like(values, value))
    assert len(values) == 30 * len(preset.classes_with(name)) // len(preset.classes)
    with pytest.raises(InputError, match="is the same in all images"):
        prior_of(held, name)


def test_two_populations_may_share_a_parameter():
    preset = PRESETS.get("survey/hst")
    both = replace(preset, populations={**preset.populations, "wdm": WarmSubhalos(f_sub=LogUniform(0.003, 0.1))})
    assert prior_of(both, "f_sub") == LogUniform(0.003, 0.1)
    assert drawn(held_at(both, "f_sub", 0.01), "f_sub").unique().tolist() == [0.01]
    other = replace(both, populations={**both.populations, "wdm": WarmSubhalos(f_sub=Normal(0.1, 0.01))})
    with pytest.raises(InputError, match="another prior of f_sub for some classes"):
        prior_of(other, "f_sub")


def test_an_unknown_name_is_told_with_near_ones():
    preset = PRESETS.get("deeplense/model-1")
    with pytest.raises(InputError, match=r"deeplense/model-1 draws no 'axion_mas_eV'; did you mean 'axion_mass_eV'\?"):
        prior_of(preset, "log10_axion_mas_eV")
    with pytest.raises(InputError, match="draws no 'radius'"):
        held_at(preset, "radius", 1.0)


@pytest.mark.parametrize("name", PRESETS.names(), ids=str)
def test_a_typical_lens_is_one_lens(name):
    preset = typical(PRESETS.get(name))
    found = draw_lens(preset, torch.zeros(3, dtype=torch.int64), 0)
    assert all(bool((values == values[:1]).all()) for values in found.values())
    assert not [key for key in found if "clump" in key or "colour" in key]
    assert isinstance(preset.lens.e1, Fixed)

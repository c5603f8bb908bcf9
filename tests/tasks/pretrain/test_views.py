"""Views keep a lens what it is: its flux, its radius, its noise; and each image gets its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from lenses import arcs

from arcformer.batch import LensBatch
from arcformer.errors import InputError
from arcformer.tasks.pretrain.draws import Draws
from arcformer.tasks.pretrain.views import Views

NOTHING = {"symmetries": "none", "blur": 0.0, "shift": 0.0, "noise": 0.0}


def spot(images=64, side=33, width=2.5):
    """A round spot in the middle, without noise."""
    axis = torch.arange(side) - (side - 1) / 2
    square = axis[:, None] ** 2 + axis**2
    return LensBatch(torch.exp(-square / (2 * width**2)).expand(images, 1, side, side))


def moments(images):
    """Flux, centre of light (y, x), and mean square radius about it."""
    axis = torch.arange(images.shape[-1]) - (images.shape[-1] - 1) / 2
    flux = images.sum((1, 2, 3))
    y, x = (images.sum((1, d)) @ axis / flux for d in (3, 2))
    square = (images[:, 0] * (axis[:, None] ** 2 + axis**2)).sum((1, 2)) / flux - y**2 - x**2
    return flux, y, x, square


def test_nothing_asked_for_changes_nothing():
    batch = arcs()
    assert torch.equal(Views(**NOTHING)(batch, Draws()), batch.images)


def test_a_blur_widens_by_its_width_and_keeps_the_flux():
    batch = spot()
    flux, y, x, square = moments(Views(**NOTHING | {"blur": 1.5})(batch, Draws()))
    before = moments(batch.images)
    torch.testing.assert_close(flux, before[0], rtol=1e-4, atol=0)
    assert max(y.abs().max(), x.abs().max()) < 1e-3
    added = ((square - before[3]) / 2).clamp_min(0).sqrt()  # of a Gaussian, on each axis
    assert 1.3 < added.max() <= 1.51
    assert added.min() < 0.3


def test_a_shift_moves_by_parts_of_a_pixel_and_smooths_nothing():
    batch = spot()
    flux, y, x, square = moments(Views(**NOTHING | {"shift": 0.5})(batch, Draws()))
    before = moments(batch.images)
    torch.testing.assert_close(flux, before[0], rtol=1e-4, atol=0)
    torch.testing.assert_close(square, before[3], rtol=1e-3, atol=0)
    assert 0.4 < y.abs().max() <= 0.501
    assert 0.4 < x.abs().max() <= 0.501
    noise = LensBatch(torch.randn(64, 1, 33, 33))
    moved = Views(**NOTHING | {"shift": 0.5})(noise, Draws())[..., 4:-4, 4:-4]
    assert moved.std().item() == pytest.approx(1, rel=0.05)  # an interpolation would make it less


def test_noise_is_in_units_of_that_of_the_image():
    batch = arcs(400)
    for one in (batch, replace(batch, noise_std=None)):  # stated, and as its sky shows it
        added = Views(**NOTHING | {"noise": 2.0})(one, Draws()) - one.images
        strength = added.flatten(1).std(1) / 0.1
        assert strength.max() < (2.4 if one.noise_std is not None else 4)  # in 16 pixels its sky shows it roughly
        assert strength.mean().item() == pytest.approx(1.0, rel=0.1 if one.noise_std is not None else 0.5)


def test_views_of_the_dihedral_group_are_all_there_and_the_lens_stays_itself():
    batch = replace(arcs(1).map(lambda t: t[:1].repeat_interleave(400, 0)))
    seen = Views(**NOTHING | {"symmetries": "dihedral"})(batch, Draws())
    assert len(seen.unique(dim=0)) == 8
    assert len(Views(**NOTHING | {"symmetries": "half-turn"})(batch, Draws()).unique(dim=0)) == 2
    torch.testing.assert_close(seen.flatten(1).sort(1).values, batch.images.flatten(1).sort(1).values)


def test_a_view_is_a_function_of_its_draws_and_fixed_ones_are_alike_for_all():
    batch, views = arcs(1).map(lambda t: t[:1].repeat_interleave(5, 0)), Views()
    first, again, other = (views(batch, Draws(torch.Generator().manual_seed(s))) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])
    alike = views(batch, Draws.fixed(torch.device("cpu")))
    torch.testing.assert_close(alike, alike[:1].expand_as(alike))


def test_what_would_be_another_lens_is_refused():
    for options in ({"blur": 5.0}, {"shift": 3.0}, {"noise": -1.0}):
        with pytest.raises(InputError, match="expected a number from 0"):
            Views(**options)
    with pytest.raises(InputError, match="3 x 5 pixels"):
        Views()(LensBatch(torch.rand(8, 1, 3, 5)), Draws())

"""The square's symmetries: the whole group, evenly, everything on the pixels together, and nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from arcformer.batch import LensBatch
from arcformer.data.augment import dihedral
from arcformer.errors import InputError
from arcformer.randomness import stream

SQUARE = torch.arange(9.0).reshape(3, 3)
GROUP = [torch.rot90(side, turns) for side in (SQUARE, SQUARE.flip(-1)) for turns in range(4)]


def batch_of(count=4000, **more):
    return LensBatch(images=SQUARE.expand(count, 1, 3, 3), **more)


def elements(images):
    return Counter(next(i for i, g in enumerate(GROUP) if torch.equal(image[0], g)) for image in images)


@pytest.mark.parametrize(("symmetries", "allowed"), [("dihedral", range(8)), ("half-turn", (0, 2)), ("none", (0,))])
def test_each_image_gets_its_own_element_evenly(symmetries, allowed):
    found = elements(dihedral(batch_of(), stream(0, "augment", 0), symmetries).images)
    assert set(found) == set(allowed)
    assert all(abs(count * len(allowed) / 4000 - 1) < 0.2 for count in found.values())


def test_everything_on_the_pixels_turns_together():
    count = 32
    planes = SQUARE.expand(count, 1, 3, 3)
    batch = batch_of(
        count,
        noise_std=planes,
        mask=planes > 4,
        psf=planes[:, 0],
        high_res=planes.repeat_interleave(2, 2).repeat_interleave(2, 3),
        labels=torch.arange(count),
        extras={"clean": planes, "flux_unit": torch.ones(count), "lens_x": torch.ones(count), "deflection": planes},
    )
    turned = dihedral(batch, stream(0, "augment", 1))
    assert len(elements(turned.images)) == 8
    torch.testing.assert_close(turned.noise_std, turned.images)
    torch.testing.assert_close(turned.mask, turned.images > 4)
    torch.testing.assert_close(turned.psf, turned.images[:, 0])
    torch.testing.assert_close(turned.high_res[..., ::2, ::2], turned.images)
    torch.testing.assert_close(turned.extras["clean"], turned.images)
    assert set(turned.extras) == {"clean", "flux_unit"}  # of lens_x a quarter turn makes lens_y
    torch.testing.assert_close(turned.labels, batch.labels)


def test_the_stream_decides():
    first, again, other = (dihedral(batch_of(50), stream(0, "augment", k)).images for k in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_targets_turn_and_those_that_cannot_are_refused():
    one = torch.ones(200, 1)
    mass = batch_of(200, targets=one, target_names=("log10_axion_mass_eV",))
    assert torch.equal(dihedral(mass, stream(0)).targets, one)
    ellipse = dihedral(replace(mass, target_names=("source_e1",)), stream(0))
    swapped = torch.tensor([is_transposed(image[0]) for image in ellipse.images])
    assert torch.equal(ellipse.targets[:, 0] < 0, swapped)
    alone = replace(mass, target_names=("lens_y",))
    with pytest.raises(InputError, match="a quarter turn makes 'lens_y' of 'lens_x', which is not there; name both"):
        dihedral(alone, stream(0))
    half = dihedral(alone, stream(0), "half-turn")
    assert torch.equal(half.targets[:, 0] < 0, half.images[:, 0, 0, 0] == 8)
    angle = replace(mass, target_names=("vortex_angle",))
    with pytest.raises(InputError, match=r"'vortex_angle' is an angle.*no rule says how"):
        dihedral(angle, stream(0))


def is_transposed(image):
    """Whether what were rows are columns."""
    return (image[0, 1] - image[0, 0]).abs() == 3


def test_only_squares_turn_by_a_quarter():
    batch = LensBatch(images=torch.rand(8, 1, 3, 5))
    assert dihedral(batch, stream(0), "half-turn").images.shape == batch.images.shape
    with pytest.raises(InputError, match="3 x 5 pixels"):
        dihedral(batch, stream(0))

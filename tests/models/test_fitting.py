"""Images made to fit a patch, and what does not fit a backbone: of every family, in words."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import FAMILIES, small

from arcformer.config import Section, component, options_of, read
from arcformer.errors import InputError
from arcformer.models import BACKBONES
from arcformer.models.fitting import centred, fit


class RunLike(Section):
    backbone: component(BACKBONES, "vit")


@settings(max_examples=20, deadline=None)
@given(st.integers(8, 50), st.integers(8, 50), st.sampled_from(["pad", "crop"]))
def test_uneven_images_keep_their_centre(height, width, uneven):
    """The result has sides that the patch divides, and the image's middle in its own, to half a pixel."""
    image = torch.zeros(1, 1, height, width)
    image[..., height // 2, width // 2] = 1
    fitted = fit(image, 8, uneven)
    for axis, before in ((2, height), (3, width)):
        after = fitted.shape[axis]
        assert after % 8 == 0
        assert (after >= before) if uneven == "pad" else (after <= before)
        found = fitted.sum(5 - axis).argmax().item()
        assert abs((found - (after - 1) / 2) - (before // 2 - (before - 1) / 2)) <= 0.5


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 20), st.integers(0, 20))
def test_padding_is_undone_by_the_sides_of_before(height, width, more, wider):
    image = torch.rand(2, 1, height, width)
    larger = centred(image, height + more, width + wider)
    assert larger.shape[2:] == (height + more, width + wider)
    assert torch.equal(centred(larger, height, width), image)


@pytest.mark.parametrize("size", [(37, 45), (36, 44), (33, 63)])
@pytest.mark.parametrize("name", FAMILIES)
def test_no_family_loses_an_edge_of_the_image(name, size):
    """Where no patch divides the image, it is padded: every map covers it, and its first and last pixels matter."""
    image = torch.randn(1, 1, *size, requires_grad=True)
    maps = small(name).eval().features(image)
    for map in maps:
        assert all(n * map.stride >= side for n, side in zip(map.grid, size, strict=True)), (map.grid, map.stride)
    (slope,) = torch.autograd.grad((maps[-1].x * torch.randn_like(maps[-1].x)).sum(), image)
    for edge in (slope[..., 0, :], slope[..., -1, :], slope[..., 0], slope[..., -1]):
        assert edge.any()


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_counts_the_channels(name):
    with pytest.raises(InputError, match=f"^{name} was built for 2 channel.s., the images have 3$"):
        small(name, 2).features(torch.randn(1, 3, 32, 32))


@pytest.mark.parametrize("name", [name for name in BACKBONES if "size" in options_of(BACKBONES.get(name)).model_fields])
def test_every_family_knows_its_sizes(name):
    with pytest.raises(InputError, match=f"^unknown size of {name} 'tinny': did you mean 'tiny'\\? Known: .*tiny"):
        BACKBONES.get(name)(32, 1, size="tinny")
    with pytest.raises(InputError, match=r"backbone\.size: .*, got \"tinny\" \(did you mean 'tiny'\?\)"):
        read(RunLike, overrides=[f"backbone.name={name}", "backbone.size=tinny"])

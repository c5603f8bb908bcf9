"""Masks: as many cells as asked for, each once, evenly, on the arcs or in blocks; and where they lie on the pixels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lenses import arcs, vit

from arcformer.errors import InputError
from arcformer.models.fitting import fit
from arcformer.tasks.pretrain.draws import Draws
from arcformer.tasks.pretrain.masking import check_masks, hide, on_pixels

MASKS = ("random", "arcs", "blocks")


def hidden(batch, masks, ratio=0.5, draws=None, stride=4):
    side = -(-batch.images.shape[-1] // stride)
    return hide(batch.images, (side, side), stride, ratio=ratio, masks=masks, draws=draws or Draws())


@pytest.mark.parametrize("masks", MASKS)
@given(ratio=st.floats(0.01, 0.99), side=st.integers(5, 21))
@settings(max_examples=25, deadline=None)
def test_every_cell_is_either_kept_or_hidden(masks, ratio, side):
    kept, gone = hidden(arcs(3, side), masks, ratio)
    cells = (-(-side // 4)) ** 2
    assert torch.equal(torch.cat([kept, gone], 1).sort(1).values, torch.arange(cells).expand(3, -1))
    assert gone.shape[1] == min(max(1, round(ratio * cells)), cells - 1)


@pytest.mark.parametrize("masks", MASKS)
def test_a_mask_is_a_function_of_the_generator(masks):
    batch = arcs(4)
    first, again, other = (hidden(batch, masks, draws=Draws(torch.Generator().manual_seed(s)))[1] for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.manual_seed(3)
    before = hidden(batch, masks)[1]
    torch.manual_seed(3)
    assert torch.equal(hidden(batch, masks)[1], before)


@pytest.mark.parametrize("masks", ["random", "blocks"])
def test_fixed_draws_hide_the_same_of_every_image(masks):
    gone = hidden(arcs(5), masks, draws=Draws.fixed(torch.device("cpu")))[1]
    assert torch.equal(gone, gone[:1].expand_as(gone))


def test_random_masks_are_even_and_arcs_are_on_the_arcs():
    batch = arcs(2000)
    light = torch.nn.functional.avg_pool2d(batch.extras["clean"], 4).flatten(1)
    bright = light > light.median(1, keepdim=True).values
    shares = {}
    for masks in ("random", "arcs"):
        gone = hidden(batch, masks, 0.25)[1]
        often = torch.bincount(gone.flatten(), minlength=16) / len(batch)
        if masks == "random":
            assert often.sub(0.25).abs().max() < 0.05
        shares[masks] = bright.gather(1, gone).float().mean().item()
    assert shares["random"] < 0.55
    assert 0.8 < shares["arcs"] < 1  # some of the arcs is left to go by


def test_blocks_are_connected_more_than_random_masks():
    def neighbours(masks):
        gone = on_pixels(hidden(arcs(200, 32), masks)[1], (8, 8), 1, 8, 8).float()
        return (gone[..., 1:] * gone[..., :-1]).sum() / gone.sum()

    assert neighbours("blocks") > 1.25 * neighbours("random")


@pytest.mark.parametrize("side", [16, 18, 21])
def test_hidden_pixels_are_those_that_the_cell_of_the_backbone_sees(side):
    backbone, image = vit(side), torch.zeros(1, 1, side, side)
    tokens = backbone.tokenize(image)
    for cell in (0, tokens.x.shape[1] // 2, tokens.x.shape[1] - 1):
        where = on_pixels(torch.tensor([[cell]]), tokens.grid, 4, side, side)
        changed = (backbone.tokenize(where.float()).x - tokens.x).abs().sum(2)[0] > 1e-6
        assert changed.nonzero().flatten().tolist() == [cell]
        assert (
            where.sum() == (fit(torch.ones_like(image), 4).unfold(2, 4, 4).unfold(3, 4, 4).sum((4, 5)).flatten()[cell])
        )


def test_what_cannot_be_hidden_is_refused():
    with pytest.raises(InputError, match="1 cell of 16: nothing to hide"):
        hide(arcs(2).images, (1, 1), 16, ratio=0.5, masks="random", draws=Draws())
    for ratio in (0.0, 1.0, -1, float("nan")):
        with pytest.raises(InputError, match="between 0 and 1"):
            check_masks(ratio, "random")
    with pytest.raises(InputError, match="did you mean 'arcs'"):
        check_masks(0.5, "arc")

"""The two-branch transformer: its exchange of summaries, its maps, its options."""

from __future__ import annotations

import pytest
import torch

from arcformer.errors import InputError
from arcformer.models import CrossViT
from arcformer.models.check import check_backbone
from arcformer.models.crossvit import Exchange

TINY = {"dims": (16, 32), "depths": (1, 1), "rounds": 2, "heads": 2}


def crossvit(**options):
    torch.manual_seed(0)
    return CrossViT(32, 1, **{**TINY, **options}).eval()


@pytest.mark.parametrize(
    "options",
    [
        {"stem": "patch", "position": "learned", "patches": (6, 8)},
        {"position": "rotary", "uneven": "crop", "drop_path": 0.1},
    ],
)
def test_keeps_the_contract_with_every_kind_of_part(options):
    check_backbone(CrossViT, **TINY, **options)


def test_a_map_of_each_branch_finest_first():
    fine, coarse = crossvit().features(torch.randn(2, 1, 37, 45))
    assert (fine.stride, tuple(fine.x.shape)) == (4, (2, 16, 10, 12))
    assert (coarse.stride, tuple(coarse.x.shape)) == (8, (2, 32, 5, 6))


def test_an_exchange_is_attention_of_one_query():
    """Against the equations of the paper, written with torch's own module; and it moves the summary alone."""
    torch.manual_seed(0)
    exchange, own, others = Exchange(8, 16, 2), torch.randn(3, 5, 8), torch.randn(3, 10, 16)
    attention = torch.nn.MultiheadAttention(16, 2, batch_first=True)
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([exchange.q.weight, exchange.kv.weight]))
        attention.in_proj_bias.copy_(torch.cat([exchange.q.bias, exchange.kv.bias]))
        attention.out_proj.load_state_dict(exchange.out.state_dict())
    y = exchange.f(own[:, :1])
    x = exchange.norm(torch.cat([y, others[:, 1:]], 1))
    expected = own[:, :1] + exchange.g(y + attention(x[:, :1], x, x)[0])
    found = exchange(own, others)
    torch.testing.assert_close(found[:, :1], expected)
    assert torch.equal(found[:, 1:], own[:, 1:])


@pytest.mark.parametrize(("silenced", "map"), [("fine", 1), ("coarse", 0)])
def test_each_branch_hears_of_the_other(silenced, map):
    """With one branch's stem made blind, the other's map changes: the exchange is the only way between them."""
    backbone, images = crossvit(), torch.randn(1, 1, 32, 32)
    before = backbone.features(images)[map].x
    for parameter in getattr(backbone, silenced).stem.parameters():
        torch.nn.init.zeros_(parameter)
    assert (backbone.features(images)[map].x - before).abs().max() > 1e-3


def test_the_last_map_alone_trains_every_parameter():
    backbone = crossvit()
    (backbone.features(torch.randn(2, 1, 32, 32))[-1].x * torch.randn(2, 32, 4, 4)).sum().backward()
    unreached = [name for name, p in backbone.named_parameters() if p.grad is None]
    assert not unreached


@pytest.mark.parametrize(("size", "millions"), [("tiny", 1.12), ("small", 23.2)])
def test_sizes(size, millions):
    with torch.device("meta"):
        backbone = CrossViT(64, 1, size=size)
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dims": (18, 32)}, "18 is not a multiple of 4 \\* heads = 8"),
        ({"rounds": 0}, "positive"),
        ({"patches": (8, 4)}, "fine and the coarse"),
        ({"patches": (4, 12)}, "power of two, got 12"),
        ({"drop_path": 1.0}, "drop_path"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        crossvit(**options)


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="crossvit was built for 1 channel"):
        crossvit().features(torch.randn(1, 3, 32, 32))
    with pytest.raises(InputError, match="holds no patch of 8"):
        crossvit(uneven="crop").features(torch.randn(1, 1, 7, 32))

"""Recorded attention and its roll-out: closed formulas, transformers' own weights, and every backbone there is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arcformer.models import BACKBONES, Backbone, FeatureMap, SwinV2, VisionTransformer, load_transformers_weights
from arcformer.models.attention import (
    Attended,
    NotDefined,
    averaged,
    evenly,
    painted,
    recorded,
    rollout,
    through,
    token_norms,
    within,
)
from arcformer.models.crossvit import exchanged

ATTENDING = [name for name in BACKBONES if name not in ("resnet", "rcan")]


def given(weights: Tensor) -> Attended:
    """A layer that has these weights (B, K, N, M): the logarithms as a mask, and nothing else."""
    batch, heads, queries, keys = weights.shape
    q, k = torch.zeros(batch, heads, queries, 1), torch.zeros(batch, heads, keys, 1)
    return Attended(q, k, {"attn_mask": weights.log()})


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape).softmax(-1)


def small(name: str, **options) -> Backbone:
    torch.manual_seed(0)
    backbone = BACKBONES.get(name)(32, 1, **options).eval()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return backbone


class Handmade(Backbone):
    """Attends with weights that are given, among ``extra`` tokens of no cell and then 2 x 3 cells."""

    dim = 1

    def __init__(self, layers: list[Tensor], extra: int = 0):
        super().__init__()
        self.layers, self.extra = [given(weights) for weights in layers], extra

    def features(self, images: Tensor, context: Tensor | None = None) -> list[FeatureMap]:
        x = torch.zeros(len(images), 1, self.extra + 6, 1)
        for layer in self.layers:
            x = x + F.scaled_dot_product_attention(layer.q, layer.k, x, **layer.options).mean(1, keepdim=True)
        return [FeatureMap(x[:, 0, self.extra :].transpose(1, 2).unflatten(2, (2, 3)), 4)]


@pytest.mark.parametrize("extra", [0, 2])
def test_the_rollout_is_the_closed_formula(extra: int) -> None:
    layers = [drawn(2, 3, 6 + extra, 6 + extra) for _ in range(3)]
    product = torch.eye(6 + extra).expand(2, -1, -1)
    for weights in layers:  # eq. 1 of the paper, and the residual of its section 3
        product = (0.5 * weights.mean(1) + 0.5 * torch.eye(6 + extra)) @ product
    expected = product[:, extra:, extra:].mean(1).unflatten(1, (2, 3)) / 16
    found = rollout(Handmade(layers, extra), torch.zeros(2, 1, 8, 12))
    torch.testing.assert_close(found, expected.repeat_interleave(4, 1).repeat_interleave(4, 2))


@pytest.mark.parametrize(
    "options", [{}, {"is_causal": True}, {"scale": 3.0}, {"enable_gqa": True}, {"mask": True}], ids=str
)
def test_weights_are_those_of_the_call(options: dict) -> None:
    """Whatever the values: what came out is the weights times these."""
    q, heads = torch.randn(2, 4, 5, 8), 2 if options.get("enable_gqa") else 4
    k, v = torch.randn(2, heads, 5, 8), torch.randn(2, heads, 5, 3)
    if options.pop("mask", False):
        options["attn_mask"] = torch.eye(5, dtype=torch.bool) | (torch.rand(5, 5) > 0.5)
    with recorded() as record:
        out = F.scaled_dot_product_attention(q, k, v, **options)
    (layer,) = record.layers
    torch.testing.assert_close(layer.weights @ v.repeat_interleave(4 // heads, 1), out)


@pytest.mark.parametrize("name", list(BACKBONES))
def test_recording_changes_nothing_and_ends(name: str) -> None:
    backbone, images = small(name), torch.randn(2, 1, 32, 32)
    before = backbone(images)[-1].x
    with recorded() as record:
        during = backbone(images)[-1].x
    count = len(record.layers)
    assert torch.equal(before, during)
    assert torch.equal(before, backbone(images)[-1].x)
    assert len(record.layers) == count


@pytest.mark.parametrize("size", [(32, 32), (37, 45), (64, 32)], ids=str)
@pytest.mark.parametrize("name", ATTENDING)
def test_shares_are_shares(name: str, size: tuple[int, int]) -> None:
    """For each backbone: none negative, one in all but for what belongs to no pixel, and not all alike."""
    shares = rollout(small(name), torch.randn(2, 1, *size))
    assert shares.shape == (2, *size)
    assert (shares >= 0).all()
    assert (shares.sum((1, 2)) < 1 + 1e-5).all()
    whole = size != (37, 45) and name != "crossvit"  # neither cells beyond the image nor summaries
    assert (shares.sum((1, 2)) > (1 - 1e-5 if whole else 0.6)).all()
    assert shares.std() > 0


@pytest.mark.parametrize("name", ["cvt", "swin"])
def test_shares_come_from_where_the_features_do(name: str) -> None:
    """A cell of which the last map does not depend at all has no share in it: windows do not reach everywhere."""
    options = {"swin": {"depths": (1, 1), "heads": (1, 1), "window": 2}, "cvt": {}}[name]
    backbone, images = small(name, **options), torch.randn(1, 1, 64, 64)
    kept = backbone.trace

    def of_one_cell(layers, maps):
        cells = torch.zeros(1, 1, *maps[-1].grid)
        cells[..., 1, 2] = 1
        patched = pytest.MonkeyPatch()
        with patched.context() as patch:
            patch.setattr(f"arcformer.models.{name}.evenly", lambda _: cells.flatten(1))
            return kept(layers, maps)

    backbone.trace = of_one_cell
    shares = rollout(backbone, images)[0]
    images.requires_grad_()
    reached = torch.autograd.grad(backbone(images)[-1].x[..., 1, 2].sum(), images)[0][0, 0] != 0
    assert shares.sum() == pytest.approx(1, abs=1e-5)
    assert (shares[~reached] == 0).all()
    if name == "swin":
        assert (shares[reached] > 0).all()
        assert reached.sum() == 16**2  # windows of 2 x 2 cells that are 2 x 2 of 4 pixels


def test_windows_are_taken_as_a_matrix_among_all_cells() -> None:
    cells = torch.tensor([[4, 0, 2], [1, -1, 3]])
    weights = drawn(2, 2 * 4, 3, 3)  # two windows of four heads
    weights[:, 4:, [0, 2], 1] = 0  # what was added is not seen
    weights = weights / weights.sum(-1, keepdim=True)
    whole = torch.zeros(2, 5, 5)
    for window, members in enumerate(cells.tolist()):
        for i, query in enumerate(members):
            for j, key in enumerate(members):
                if query >= 0 and key >= 0:
                    whole[:, query, key] = weights[:, 4 * window : 4 * window + 4, i, j].mean(1)
    shares = drawn(2, 5)
    expected = (shares + (shares[:, None] @ whole)[:, 0]) / 2
    torch.testing.assert_close(within(shares, given(weights), cells), expected)


def test_a_mean_hands_its_share_to_what_it_is_of() -> None:
    merged = averaged(torch.tensor([[0.1, 0.2, 0.3, 0.4]]), (3, 4), kernel=2, stride=2)
    expected = torch.tensor([[1, 1, 2, 2], [1, 1, 2, 2], [6, 6, 8, 8]]) / 40  # the last row is of two cells, not four
    torch.testing.assert_close(merged.view(3, 4), expected)
    assert averaged(drawn(1, 6), (4, 5), kernel=3, stride=2, padding=1).sum() == pytest.approx(1)


def test_an_exchange_is_a_matrix_among_all_tokens() -> None:
    """As it is written: y = f(s) + attention(s, others), s + g(y); each sum counts its terms alike."""
    to_coarse, to_fine = drawn(1, 2, 1, 4), drawn(1, 2, 1, 3)
    matrix = torch.eye(3 + 4)
    for summary, others, weights in ((0, slice(4, 7), to_coarse), (3, slice(1, 3), to_fine)):
        y = torch.zeros(7)
        y[summary] = 0.5 + 0.5 * weights.mean(1)[0, 0, 0]
        y[others] = 0.5 * weights.mean(1)[0, 0, 1:]
        matrix[summary] = 0.5 * torch.eye(7)[summary] + 0.5 * y
    shares = drawn(1, 7)
    found = torch.cat(exchanged(shares[:, :3], shares[:, 3:], given(to_coarse), given(to_fine)), 1)
    torch.testing.assert_close(found, shares @ matrix)


@pytest.mark.parametrize("size", [(12, 8), (13, 9), (11, 6)], ids=str)
def test_cells_are_painted_where_the_patches_were(size: tuple[int, int]) -> None:
    """With one pixel lit, the patch that changes is the one that is painted there."""
    torch.manual_seed(0)
    backbone = VisionTransformer(12, 1, dim=16, depth=1, heads=1, patch=4, stem="patch")
    dark = torch.zeros(1, 1, *size)
    for row, column in ((0, 0), (size[0] - 1, 1), (size[0] // 2, size[1] - 1)):
        lit = dark.clone()
        lit[..., row, column] = 1
        tokens = backbone.tokenize(lit)
        changed = (tokens.x - backbone.tokenize(dark).x).abs().sum(2).unflatten(1, tokens.grid)
        assert painted(changed, 4, size)[0, row, column] > 0


def test_cells_of_a_cropped_image_leave_the_edge_out() -> None:
    assert painted(torch.ones(1, 1, 2), 4, (7, 9), outside=torch.nan).nansum() == 4 * 8
    edge = painted(torch.ones(1, 1, 2), 4, (7, 9))[0]
    assert (edge[0] == 0).all()
    assert (edge[1:5, :8] == 1).all()
    assert (edge[5:] == 0).all()


def test_an_oracle_of_weights() -> None:
    """transformers' ViT, told to attend by itself and to give its weights, against ours with the same weights."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=24, num_channels=1, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=48, patch_size=8, attn_implementation="eager",
    )  # fmt: skip
    peer = transformers.ViTModel(config, add_pooling_layer=False).eval()
    for parameter in peer.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours = VisionTransformer(
        24, 1, dim=32, depth=3, heads=4, mlp=48, patch=8, eps=1e-12, stem="patch", position="learned", registers=1
    ).eval()
    load_transformers_weights(ours, peer.state_dict())
    images = torch.randn(2, 1, 24, 24)
    theirs = peer(images, output_attentions=True).attentions
    with recorded() as record:
        ours(images)
    for layer, weights in zip(record.layers, theirs, strict=True):
        torch.testing.assert_close(layer.weights, weights, rtol=1e-4, atol=1e-5)
    product = torch.eye(10)
    for weights in theirs:
        product = (weights.mean(1) + torch.eye(10)) / 2 @ product
    shares = product[:, 1:, 1:].mean(1).detach()
    torch.testing.assert_close(rollout(ours, images)[:, ::8, ::8].flatten(1) * 64, shares, rtol=1e-4, atol=1e-6)


def test_networks_of_others_are_recorded_too() -> None:
    transformers = pytest.importorskip("transformers")
    small_one = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 8}
    backbone = BACKBONES.get("hf:vit")(32, 1, config=small_one).eval()
    images = torch.randn(1, 1, 32, 32)
    assert rollout(backbone, images).sum() == pytest.approx(1, abs=0.3)  # the class token has its share
    before = backbone.network(images, output_hidden_states=True).hidden_states[-1][:, 1:]
    (norms,) = token_norms(backbone, images)
    torch.testing.assert_close(norms.x.flatten(1), before.norm(dim=2))
    assert transformers


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("resnet", {}, "ResNet calls no scaled_dot_product_attention"),
        ("hf:swinv2", {"config": {"embed_dim": 24, "depths": [1, 1], "num_heads": [2, 2]}}, "hf:swinv2 calls no"),
    ],
)
def test_networks_without_such_attention(name: str, options: dict, words: str) -> None:
    if ":" in name:
        pytest.importorskip("transformers")
    with pytest.raises(NotDefined, match=words):
        rollout(BACKBONES.get(name)(32, 1, **options).eval(), torch.randn(1, 1, 32, 32))


def test_attention_that_lies_otherwise_and_does_not_say_how() -> None:
    class Silent(SwinV2):
        trace = None  # type: ignore[assignment]

    with pytest.raises(NotDefined, match="how the attention of Silent lies on the image is not known"):
        rollout(Silent(32, 1).eval(), torch.randn(1, 1, 32, 32))


@torch.no_grad()
@pytest.mark.parametrize("name", list(BACKBONES))
def test_token_norms_are_taken_before_the_last_norm(name: str) -> None:
    """Behind it all tokens are as long as each other, which would make an empty picture."""
    backbone, images = small(name), torch.randn(2, 1, 32, 48)
    with recorded() as record:
        maps = backbone(images)
    norms = token_norms(backbone, images)
    assert [(m.stride, m.x.shape) for m in norms] == [(m.stride, (2, 1, *m.grid)) for m in maps]
    normed = any(
        after.untyped_storage().data_ptr() == maps[-1].x.untyped_storage().data_ptr() for _, after in record.norms
    )
    assert normed == (name in ATTENDING and name != "swinir")  # whose last map a convolution makes
    if not normed:
        torch.testing.assert_close(norms[-1].x[:, 0], maps[-1].x.norm(dim=1))


def test_token_norms_of_the_reference() -> None:
    backbone, images, kept = small("vit", registers=2), torch.randn(2, 1, 32, 32), []
    backbone.norm.register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    (norms,) = token_norms(backbone, images)
    torch.testing.assert_close(norms.x.flatten(1), kept[0].norm(dim=2))


def test_maps_of_an_equivariant_network_turn_with_the_image() -> None:
    backbone, images = small("d4vit", dim=64, depth=2), torch.randn(2, 1, 40, 28)
    shares, norms = rollout(backbone, images), token_norms(backbone, images)[0].x
    for quarters in (1, 2, 3):
        turned = torch.rot90(images, quarters, (2, 3))
        torch.testing.assert_close(
            rollout(backbone, turned), torch.rot90(shares, quarters, (1, 2)), rtol=1e-3, atol=1e-7
        )
        torch.testing.assert_close(
            token_norms(backbone, turned)[0].x, torch.rot90(norms, quarters, (2, 3)), rtol=1e-4, atol=1e-4
        )
    plain = small("vit")
    moved = rollout(plain, images.mT).mT - rollout(plain, images)
    assert moved.abs().max() > 1e-4 * rollout(plain, images).max()


def test_a_residual_keeps_half() -> None:
    shares, weights = evenly(FeatureMap(torch.zeros(1, 1, 2, 2), 1)), torch.zeros(1, 1, 4, 4)
    weights[..., 3] = 1
    torch.testing.assert_close(through(shares, given(weights)), torch.tensor([[0.125, 0.125, 0.125, 0.625]]))

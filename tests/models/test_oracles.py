"""Our backbones against transformers' models of the same configuration, with the same weights drawn at random."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from arcformer.errors import InputError
from arcformer.models import Backbone, FeatureMap, SwinV2, VisionTransformer, load_transformers_weights

transformers = pytest.importorskip("transformers")

VIT = {"dim": 32, "depth": 2, "heads": 4, "mlp": 48, "patch": 8, "eps": 1e-12}
AS_THEIRS = {"stem": "patch", "position": "learned", "registers": 1}
SWIN = {"dim": 12, "depths": (2, 2), "heads": (2, 3), "window": 4, "patch": 4, "mlp_ratio": 2.0}


def drawn(model: nn.Module) -> nn.Module:
    """The model with all its parameters drawn: biases and norms begin at 0 and 1, which would hide a wrong mapping.

    Scales of cosines are between 1 and more than the 100 at which they are clamped.
    """
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if name.endswith("logit_scale"):
            nn.init.uniform_(parameter, 0, 6)
        else:
            nn.init.normal_(parameter, std=0.2)
    return model.eval()


def vit_config(size: int, channels: int, options: dict) -> transformers.ViTConfig:
    return transformers.ViTConfig(
        image_size=size, num_channels=channels, hidden_size=options["dim"], num_hidden_layers=options["depth"],
        num_attention_heads=options["heads"], intermediate_size=options["mlp"], patch_size=options["patch"],
        layer_norm_eps=options["eps"],
    )  # fmt: skip


def swin_config(size: int, channels: int, options: dict, **more) -> transformers.Swinv2Config:
    return transformers.Swinv2Config(
        image_size=size, num_channels=channels, embed_dim=options["dim"], depths=options["depths"],
        num_heads=options["heads"], window_size=options["window"], patch_size=options["patch"],
        mlp_ratio=options["mlp_ratio"], **more,
    )  # fmt: skip


def vit_peer(size: int = 24, channels: int = 1, **options) -> nn.Module:
    return drawn(transformers.ViTModel(vit_config(size, channels, VIT | options), add_pooling_layer=False))


def swin_peer(size: int = 64, channels: int = 1, **options) -> nn.Module:
    return drawn(transformers.Swinv2Model(swin_config(size, channels, SWIN | options), add_pooling_layer=False))


def loaded(backbone: Backbone, state: dict[str, torch.Tensor]) -> Backbone:
    load_transformers_weights(backbone, state)
    return backbone.eval()


@pytest.mark.parametrize(
    ("built", "called", "channels", "options"),
    [
        (24, (24, 24), 1, {}),
        (24, (24, 24), 3, {"depth": 3, "heads": 2, "dim": 24}),
        (24, (40, 40), 1, {}),
        (24, (16, 48), 2, {}),
        (20, (20, 20), 1, {"patch": 5, "eps": 1e-6}),
    ],
)
@torch.no_grad()
def test_vit_agrees(built, called, channels, options):
    """The last hidden state after the final norm, with positions interpolated where the size is another."""
    peer = vit_peer(built, channels, **options)
    ours = loaded(VisionTransformer(built, channels, **VIT | AS_THEIRS | options), peer.state_dict())
    images = torch.randn(2, channels, *called)
    theirs = peer(images, interpolate_pos_encoding=True).last_hidden_state[:, 1:]
    torch.testing.assert_close(ours.encode(ours.tokenize(images)).x, theirs, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_vit_agrees_on_images_that_the_patch_does_not_divide():
    """transformers leaves out the far edge, here as in the published classifier: 150 pixels, patches of 16."""
    options = {"dim": 768, "depth": 3, "heads": 3, "mlp": 1024, "patch": 16}
    peer = vit_peer(150, 1, **options)
    ours = VisionTransformer(150, 1, size="classifier-3x3", uneven="crop", eps=1e-12, **AS_THEIRS)
    images = torch.randn(1, 1, 144, 144)
    theirs = peer(torch.nn.functional.pad(images, (0, 6, 0, 6))).last_hidden_state[:, 1:]
    tokens = loaded(ours, peer.state_dict()).encode(ours.tokenize(images)).x
    torch.testing.assert_close(tokens, theirs, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_eps_of_the_norms_matters_where_activations_are_small():
    """Weights as transformers draws them, images of little flux: why it is an option."""
    torch.manual_seed(0)
    peer = transformers.ViTModel(vit_config(24, 1, VIT), add_pooling_layer=False).eval()
    images, gaps = torch.randn(2, 1, 24, 24) / 100, []
    theirs = peer(images).last_hidden_state[:, 1:]
    for eps in (1e-12, 1e-6):
        ours = loaded(VisionTransformer(24, 1, **VIT | AS_THEIRS | {"eps": eps}), peer.state_dict())
        gaps.append(float((ours.encode(ours.tokenize(images)).x - theirs).abs().max()))
    assert gaps[0] < 1e-5 < gaps[1]


@pytest.mark.parametrize(
    ("built", "called", "channels", "options"),
    [
        (64, (64, 64), 1, {}),
        (64, (64, 96), 3, {}),
        (48, (48, 48), 1, {"window": 3}),
        (64, (64, 64), 1, {"depths": (2, 1, 3), "heads": (1, 2, 4), "window": 8}),  # windows of 8, 8 and 4
        (32, (32, 32), 2, {"patch": 2, "depths": (3, 2), "heads": (3, 4)}),
    ],
)
@torch.no_grad()
def test_swin_agrees(built, called, channels, options):
    """Every stage before its grid is merged, and the last hidden state after the final norm."""
    peer, images = swin_peer(built, channels, **options), torch.randn(2, channels, *called)
    ours: list[FeatureMap] = loaded(SwinV2(built, channels, **SWIN | options), peer.state_dict()).features(images)
    embedded, grid = peer.embeddings(images)
    flags = {"output_hidden_states": True, "output_hidden_states_before_downsampling": True}
    stages = peer.encoder(embedded, grid, **flags).reshaped_hidden_states[1:]
    last = peer(images).last_hidden_state.transpose(1, 2).unflatten(2, ours[-1].x.shape[2:])
    for mine, theirs in zip(ours, [*stages[:-1], last], strict=True):
        torch.testing.assert_close(mine.x, theirs, rtol=1e-5, atol=1e-5)


def test_weights_of_classifiers_come_without_their_heads():
    torch.manual_seed(0)
    vit = transformers.ViTForImageClassification(vit_config(24, 1, VIT))
    ours = loaded(VisionTransformer(24, 1, **VIT | AS_THEIRS), vit.state_dict())
    assert torch.equal(ours.norm.weight, vit.vit.layernorm.weight)
    loaded(VisionTransformer(24, 1, **VIT | AS_THEIRS), transformers.ViTModel(vit_config(24, 1, VIT)).state_dict())
    swin = transformers.Swinv2ForImageClassification(swin_config(32, 1, SWIN))
    ours = loaded(SwinV2(32, 1, **SWIN), swin.state_dict())
    assert torch.equal(ours.stages[1].merge.linear.weight, swin.swinv2.encoder.layers[0].downsample.reduction.weight)


def test_names_of_files_written_by_older_versions(tmp_path):
    """transformers still writes them; the file has the same weights under other names."""
    safetensors = pytest.importorskip("safetensors.torch")
    peer = transformers.ViTForImageClassification(vit_config(24, 1, VIT))
    peer.save_pretrained(tmp_path)
    state = safetensors.load_file(tmp_path / "model.safetensors")
    assert "vit.encoder.layer.0.attention.attention.query.weight" in state
    a, b = (loaded(VisionTransformer(24, 1, **VIT | AS_THEIRS), each) for each in (state, peer.state_dict()))
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stem": "conv"}, "stem='patch' and position='learned'"),
        ({"position": "sincos"}, "stem='patch' and position='learned'"),
        ({"registers": 0}, "registers=1"),
        ({"dim": 48}, r"position_embeddings has shape \(1, 10, 32\), the backbone expects \(1, 10, 48\)"),
        ({"mlp": 50}, r"layers\.0\.mlp\.fc1\.weight has shape \(48, 32\), the backbone expects \(50, 32\)"),
        ({"depth": 1}, r"no place for 16 of them, layers\.1\.attention\.k_proj\.bias, .*configuration"),
        ({"depth": 3}, r"layers\.2\.layernorm_before\.weight is expected, of shape \(32,\), and missing"),
    ],
)
def test_a_vit_of_another_configuration_is_refused_and_left_alone(options, words):
    ours = VisionTransformer(24, 1, **VIT | AS_THEIRS | options)
    before = [parameter.clone() for parameter in ours.parameters()]
    with pytest.raises(InputError, match=words):
        load_transformers_weights(ours, vit_peer().state_dict())
    assert all(torch.equal(a, b) for a, b in zip(before, ours.parameters(), strict=True))


def test_other_architectures_and_options_are_refused():
    with pytest.raises(InputError, match=r"logit_scale has shape \(3, 1, 1\), the backbone expects \(6, 1, 1\)"):
        load_transformers_weights(SwinV2(64, 1, **SWIN | {"heads": (2, 6)}), swin_peer().state_dict())
    absolute = transformers.Swinv2Model(swin_config(64, 1, SWIN, use_absolute_embeddings=True))
    with pytest.raises(InputError, match=r"no place for 1 of them, embeddings\.position_embeddings"):
        load_transformers_weights(SwinV2(64, 1, **SWIN), absolute.state_dict())
    with pytest.raises(
        InputError, match=r"vit: embeddings\.position_embeddings is expected.* missing; of .* is embeddings\."
    ):
        load_transformers_weights(VisionTransformer(24, 1, **VIT | AS_THEIRS), swin_peer().state_dict())

    class Other(Backbone):
        def features(self, images, context=None):
            return []

    with pytest.raises(InputError, match="fit VisionTransformer and SwinV2, not Other"):
        load_transformers_weights(Other(), {})

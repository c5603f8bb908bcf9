"""Our backbones against transformers' models of the same configuration, with the same weights drawn at random."""

from __future__ import annotations

import pytest
import torch
import transformers
from peers import AS_THEIRS, PUBLISHED, SMALL, SWIN, VIT, Case, drawn, features, swin_config, vit_config
from torch import nn

from arcformer.errors import InputError
from arcformer.models import BACKBONES, Backbone, SwinV2, VisionTransformer, load_transformers_weights


def vit_peer(**options) -> nn.Module:
    return drawn(Case("vit", 24, options=VIT | options).theirs())


def swin_peer(**options) -> nn.Module:
    return drawn(Case("swin", 64, options=SWIN | options).theirs())


def loaded(backbone: Backbone, state: dict[str, torch.Tensor]) -> Backbone:
    load_transformers_weights(backbone, state)
    return backbone.eval()


@pytest.mark.parametrize("case", [*SMALL, "vit 150x150 (classifier-3x3)"])
def test_maps_are_theirs(case):
    """Every stage, with positions interpolated and windows shifted where the size is another."""
    for ours, theirs in features((SMALL | PUBLISHED)[case]):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", ["vit 24x24", "swin 64x64 windows of 8, 8 and 4"])
def test_the_difference_is_rounding(case):
    """In float64 it goes down as the rounding does."""
    for ours, theirs in features(SMALL[case], torch.float64):
        torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("case", [name for name in PUBLISHED if "(" in name])
def test_our_sizes_are_those_of_the_table(case):
    """``vit 64x64 (small)`` is the size ``small`` of ``vit`` in all that its weights show."""
    there, size = PUBLISHED[case], case.partition("(")[2].rstrip(")")
    not_of_a_size = {name: there.options[name] for name in ("patch", "uneven") if name in there.options}
    more = AS_THEIRS | not_of_a_size if there.kind == "vit" else {}
    with torch.device("meta"):
        named = BACKBONES.get(there.kind)(there.built, 1, size=size, **more)
        shapes = [{name: x.shape for name, x in each.state_dict().items()} for each in (there.ours(), named)]
    assert shapes[0] == shapes[1]


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

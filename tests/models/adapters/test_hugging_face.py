"""Networks of transformers, from random configurations."""

from __future__ import annotations

import json

import pytest
import torch

from arcformer.config import Section, component, read
from arcformer.errors import InputError
from arcformer.models import BACKBONES
from arcformer.models.check import check_backbone

PLAIN = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "patch_size": 8}
SWIN = {"embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
CVT = {"embed_dim": [16, 32, 64], "depth": [1, 2, 3], "num_heads": [1, 2, 2]}
CVT |= {"patch_stride": [2, 2, 2], "patch_padding": [3, 1, 1]}
HF = {
    "vit": (PLAIN, [8]),
    "dinov2": ({k: v for k, v in PLAIN.items() if k != "intermediate_size"}, [8]),
    "dinov3_vit": (PLAIN | {"num_register_tokens": 2}, [8]),
    "siglip_vision_model": (PLAIN, [8]),
    "swin": (SWIN, [4, 8]),
    "swinv2": (SWIN, [4, 8]),
    "convnextv2": ({"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}, [4, 8]),
    "resnet": ({"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}, [4, 8]),
    "cvt": (CVT, [2, 4, 8]),
}


def hf(architecture, channels=1, **options):
    torch.manual_seed(0)
    options = {"config": HF[architecture][0], **options}
    return BACKBONES.get(f"hf:{architecture}")(48, channels, **options).eval()


@pytest.fixture(autouse=True, scope="module")
def _transformers():
    pytest.importorskip("transformers")


@pytest.mark.parametrize("architecture", HF)
def test_keeps_the_contract(architecture):
    config, strides = HF[architecture]
    check_backbone(BACKBONES.get(f"hf:{architecture}"), config=config)
    assert [m.stride for m in hf(architecture).features(torch.randn(1, 1, 48, 64))] == strides


def test_the_map_is_what_the_network_gives():
    """Tokens in their places, the class token left out; a stage before it is what transformers reports."""
    vit, images = hf("vit"), torch.randn(2, 1, 48, 64)
    tokens = vit.network(images, interpolate_pos_encoding=True).last_hidden_state[:, 1:]
    torch.testing.assert_close(vit.features(images)[0].x[:, :, 2, 3], tokens[:, 2 * 8 + 3])
    resnet = hf("resnet")
    hidden = resnet.network(images, output_hidden_states=True).hidden_states
    torch.testing.assert_close(resnet.features(images)[0].x, hidden[1])


def test_what_no_map_depends_on_is_frozen():
    frozen = [name for name, p in hf("dinov2").named_parameters() if not p.requires_grad]
    assert frozen == ["network.embeddings.mask_token"]


def test_learned_positions_are_laid_out_for_the_image():
    vit = BACKBONES.get("hf:vit")(45, 1, config=PLAIN)
    assert vit.network.config.image_size == 48
    assert BACKBONES.get("hf:vit")(45, 1, config=PLAIN | {"image_size": 64}).network.config.image_size == 64


def test_what_follows_from_a_field_follows():
    """transformers works the width of a Swin out when its configuration is made, not later."""
    assert hf("swinv2", config=SWIN | {"depths": [1, 1, 1], "num_heads": [1, 2, 2]}).dim == 64


def test_is_named_in_a_run_file():
    class Run(Section):
        backbone: component(BACKBONES, "vit")

    run = read(
        Run, overrides=["backbone.name=hf:swinv2", "backbone.config={embed_dim=48}", "backbone.pretrained=false"]
    )
    assert run.backbone.options == {"config": {"embed_dim": 48}, "pretrained": False}
    assert BACKBONES.get("hf:swinv2") is BACKBONES.get("hf:swinv2")


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_pretrained_weights_for_any_channels(channels, tmp_path):
    """One image in all of its channels has the features that it has in three."""
    stored = hf("vit", channels=3, config=PLAIN | {"image_size": 48})
    stored.network.save_pretrained(tmp_path)
    loaded = BACKBONES.get(f"hf:{tmp_path}")(48, channels, pretrained=True).eval()
    image = torch.randn(2, 1, 37, 48)
    expected = stored.features(image.expand(-1, 3, -1, -1))[0].x
    torch.testing.assert_close(loaded.features(image.expand(-1, channels, -1, -1))[0].x, expected, atol=1e-4, rtol=1e-4)
    # ... and without being asked for, weights are drawn.
    drawn = BACKBONES.get(f"hf:{tmp_path}")(48, channels).eval()
    assert not torch.allclose(drawn.features(image.expand(-1, channels, -1, -1))[0].x, expected, atol=1e-2)


def test_a_configuration_in_a_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"model_type": "vit", **PLAIN}))
    assert (
        BACKBONES.get(f"hf:{path}")(48, 1, config={"patch_size": 6}).features(torch.randn(1, 1, 48, 48))[0].stride == 6
    )
    with pytest.raises(InputError, match="names no weights"):
        BACKBONES.get(f"hf:{path}")(48, 1, pretrained=True)
    path.write_text(json.dumps({"model_type": "vitt"}))
    with pytest.raises(InputError, match="model_type 'vitt' is none"):
        BACKBONES.get(f"hf:{path}")(48, 1)


def test_what_is_not_known_is_refused_with_near_names():
    with pytest.raises(InputError, match=r"hf:swinv3 is no architecture .*did you mean 'swin"):
        BACKBONES.get("hf:swinv3")
    with pytest.raises(InputError, match=r"config\.hiden_size is no field .*did you mean 'hidden_size'"):
        hf("vit", config={"hiden_size": 32})
    with pytest.raises(InputError, match=r"config\.num_channels follows from the images"):
        hf("vit", config={"num_channels": 3})
    with pytest.raises(InputError, match="hf:vit names no weights"):
        hf("vit", pretrained=True)


@pytest.mark.parametrize(
    ("architecture", "config", "words"),
    [
        ("bert", {}, "no encoder of images"),
        ("vit_mae", PLAIN, "drops or merges"),
        ("vit_mae", PLAIN | {"mask_ratio": 0.0}, "drops or shuffles"),
        ("vit", {"hidden_size": "wide"}, "hidden_size"),
        ("vit", PLAIN | {"num_attention_heads": 0}, "cannot be"),
    ],
)
def test_what_does_not_keep_the_contract_is_refused(architecture, config, words):
    with pytest.raises(InputError, match=words) as caught:
        BACKBONES.get(f"hf:{architecture}")(48, 1, config=config)
    assert "\n" not in str(caught.value)


def test_a_network_that_fails_on_images_of_its_size_is_refused_when_it_is_built():
    """transformers' Swin takes no grid smaller than its window, here one of 3 cells."""
    with pytest.raises(InputError, match=r"hf:swin does not take 1 channel\(s\) of 48 x 48 pixels: "):
        hf("swin", config=SWIN | {"depths": [1, 1, 1], "num_heads": [1, 2, 2]})
    assert hf("swin").cell == 8


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="hf:resnet was built for 1 channel"):
        hf("resnet").features(torch.randn(1, 3, 48, 48))
    with pytest.raises(InputError, match="holds no cell of 8"):
        hf("resnet").features(torch.randn(1, 1, 7, 48))


def test_no_weights_are_drawn_on_the_meta_device():
    with torch.device("meta"):
        assert BACKBONES.get("hf:swinv2")(48, 1, config=SWIN).dim == 32

"""Networks of transformers, from random configurations; those of timm and torchvision, which are stood in for."""

from __future__ import annotations

import json
import sys
import types

import pytest
import torch
from torch import nn

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


class TestHuggingFace:
    @pytest.mark.parametrize("architecture", HF)
    def test_keeps_the_contract(self, architecture):
        config, strides = HF[architecture]
        check_backbone(BACKBONES.get(f"hf:{architecture}"), config=config)
        assert [m.stride for m in hf(architecture).features(torch.randn(1, 1, 48, 64))] == strides

    def test_the_map_is_what_the_network_gives(self):
        """Tokens in their places, the class token left out; a stage before it is what transformers reports."""
        vit, images = hf("vit"), torch.randn(2, 1, 48, 64)
        tokens = vit.network(images, interpolate_pos_encoding=True).last_hidden_state[:, 1:]
        torch.testing.assert_close(vit.features(images)[0].x[:, :, 2, 3], tokens[:, 2 * 8 + 3])
        resnet = hf("resnet")
        hidden = resnet.network(images, output_hidden_states=True).hidden_states
        torch.testing.assert_close(resnet.features(images)[0].x, hidden[1])

    def test_what_no_map_depends_on_is_frozen(self):
        frozen = [name for name, p in hf("dinov2").named_parameters() if not p.requires_grad]
        assert frozen == ["network.embeddings.mask_token"]

    def test_learned_positions_are_laid_out_for_the_image(self):
        vit = BACKBONES.get("hf:vit")(45, 1, config=PLAIN)
        assert vit.network.config.image_size == 48
        assert BACKBONES.get("hf:vit")(45, 1, config=PLAIN | {"image_size": 64}).network.config.image_size == 64

    def test_what_follows_from_a_field_follows(self):
        """transformers works the width of a Swin out when its configuration is made, not later."""
        assert hf("swinv2", config=SWIN | {"depths": [1, 1, 1], "num_heads": [1, 2, 2]}).dim == 64

    def test_is_named_in_a_run_file(self):
        class Run(Section):
            backbone: component(BACKBONES, "vit")

        run = read(
            Run, overrides=["backbone.name=hf:swinv2", "backbone.config={embed_dim=48}", "backbone.pretrained=false"]
        )
        assert run.backbone.options == {"config": {"embed_dim": 48}, "pretrained": False}
        assert BACKBONES.get("hf:swinv2") is BACKBONES.get("hf:swinv2")

    @pytest.mark.parametrize("channels", [1, 2, 3])
    def test_pretrained_weights_for_any_channels(self, channels, tmp_path):
        """One image in all of its channels has the features that it has in three."""
        stored = hf("vit", channels=3, config=PLAIN | {"image_size": 48})
        stored.network.save_pretrained(tmp_path)
        loaded = BACKBONES.get(f"hf:{tmp_path}")(48, channels, pretrained=True).eval()
        image = torch.randn(2, 1, 37, 48)
        expected = stored.features(image.expand(-1, 3, -1, -1))[0].x
        torch.testing.assert_close(
            loaded.features(image.expand(-1, channels, -1, -1))[0].x, expected, atol=1e-4, rtol=1e-4
        )
        # ... and without being asked for, weights are drawn.
        drawn = BACKBONES.get(f"hf:{tmp_path}")(48, channels).eval()
        assert not torch.allclose(drawn.features(image.expand(-1, channels, -1, -1))[0].x, expected, atol=1e-2)

    def test_a_configuration_in_a_file(self, tmp_path):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps({"model_type": "vit", **PLAIN}))
        assert (
            BACKBONES.get(f"hf:{path}")(48, 1, config={"patch_size": 6}).features(torch.randn(1, 1, 48, 48))[0].stride
            == 6
        )
        with pytest.raises(InputError, match="names no weights"):
            BACKBONES.get(f"hf:{path}")(48, 1, pretrained=True)
        path.write_text(json.dumps({"model_type": "vitt"}))
        with pytest.raises(InputError, match="model_type 'vitt' is none"):
            BACKBONES.get(f"hf:{path}")(48, 1)

    def test_what_is_not_known_is_refused_with_near_names(self):
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
    def test_what_does_not_keep_the_contract_is_refused(self, architecture, config, words):
        with pytest.raises(InputError, match=words) as caught:
            BACKBONES.get(f"hf:{architecture}")(48, 1, config=config)
        assert "\n" not in str(caught.value)

    def test_images_that_do_not_fit_are_refused(self):
        with pytest.raises(InputError, match="hf:resnet was built for 1 channel"):
            hf("resnet").features(torch.randn(1, 3, 48, 48))
        with pytest.raises(InputError, match="holds no cell of 8"):
            hf("resnet").features(torch.randn(1, 1, 7, 48))

    def test_no_weights_are_drawn_on_the_meta_device(self):
        with torch.device("meta"):
            assert BACKBONES.get("hf:swinv2")(48, 1, config=SWIN).dim == 32


class Steps(nn.Module):
    """As torchvision builds its classifiers: stages, a pooling, a linear map, and an unused number at the side."""

    def __init__(self, width=8):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, 2, 1), nn.GroupNorm(2, 2 * width)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(2 * width, 1000))


class Maps(nn.Module):
    """As timm wraps its networks: a list of maps, here with channels last, and what is known of them."""

    def __init__(self, channels, width=8):
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, width, 3, 2, 1), nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.feature_info = types.SimpleNamespace(channels=lambda: [width, 2 * width], reduction=lambda: [2, 4])

    def forward(self, x):
        first = self.first(x)
        return [x.permute(0, 2, 3, 1) for x in (first, self.second(first.relu()))]


def stand_in(monkeypatch, name, **members):
    module = types.ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def fake_torchvision(monkeypatch):
    def get_model(name, weights=None, **options):
        torch.manual_seed(3 if weights == "DEFAULT" else torch.seed())
        return nn.Sequential(nn.Flatten(), nn.Linear(3, 3)) if name == "vit_b_16" else Steps(**options)

    models = types.SimpleNamespace(list_models=lambda: ["steps18", "vit_b_16"], get_model=get_model)
    stand_in(monkeypatch, "torchvision", models=models)


class TestTorchvision:
    @pytest.mark.usefixtures("fake_torchvision")
    def test_keeps_the_contract(self):
        check_backbone(BACKBONES.get("torchvision:steps18"), config={"width": 4})
        backbone = BACKBONES.get("torchvision:steps18")(48, 1)
        assert [(m.stride, m.x.shape[1]) for m in backbone.features(torch.randn(1, 1, 48, 48))] == [(2, 8), (4, 16)]

    @pytest.mark.usefixtures("fake_torchvision")
    def test_pretrained_weights_for_one_channel(self):
        one, three = (BACKBONES.get("torchvision:steps18")(48, channels, pretrained=True) for channels in (1, 3))
        image = torch.randn(1, 1, 16, 16)
        torch.testing.assert_close(one.features(image)[1].x, three.features(image.expand(-1, 3, -1, -1))[1].x)

    @pytest.mark.usefixtures("fake_torchvision")
    def test_what_it_cannot_do_is_refused(self):
        with pytest.raises(InputError, match="no such network \\(did you mean 'steps18'"):
            BACKBONES.get("torchvision:steps19")(48, 1)
        with pytest.raises(InputError, match=r"cannot be built: .*depth"):
            BACKBONES.get("torchvision:steps18")(48, 1, config={"depth": 1})
        with pytest.raises(InputError, match="torchvision:vit_b_16 has nothing before its head"):
            BACKBONES.get("torchvision:vit_b_16")(48, 1)


class TestTimm:
    @pytest.fixture(autouse=True)
    def _fake_timm(self, monkeypatch):
        def create_model(name, pretrained, features_only, in_chans, **options):
            assert features_only
            assert not pretrained
            if "img_size" in options:
                raise TypeError("__init__() got an unexpected keyword argument 'img_size'")
            return Maps(in_chans, **options)

        stand_in(
            monkeypatch, "timm", create_model=create_model, is_model=lambda name: name == "maps",
            list_models=lambda: ["maps"],
        )  # fmt: skip

    def test_keeps_the_contract(self):
        check_backbone(BACKBONES.get("timm:maps"), config={"width": 4})

    def test_what_it_cannot_do_is_refused(self):
        with pytest.raises(InputError, match="timm:map: timm has no such network \\(did you mean 'maps'"):
            BACKBONES.get("timm:map")(48, 1)
        with pytest.raises(InputError, match=r"timm:maps cannot be built: .*depth"):
            BACKBONES.get("timm:maps")(48, 1, config={"depth": 1})


@pytest.mark.parametrize(
    ("name", "extra"), [("torchvision:resnet18", "torchvision"), ("timm:vit", "timm"), ("hf:vit", "hf")]
)
def test_a_library_that_is_not_there_is_named_with_its_extra(name, extra, monkeypatch):
    module = {"hf": "transformers"}.get(extra, extra)
    monkeypatch.setattr(sys, "meta_path", [_Blocks(module), *sys.meta_path])
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(
        InputError, match=rf'needs {module}, which is not installed: pip install "arcformer\[{extra}\]"'
    ):
        BACKBONES.get(name)(48, 1)


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:vit"])
def test_a_torchvision_of_another_build_is_put_in_words(name, monkeypatch):
    error = RuntimeError("operator torchvision::nms does not exist")
    module = name.partition(":")[0]
    monkeypatch.setattr(sys, "meta_path", [_Blocks(module, error), *sys.meta_path])
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(InputError, match=r"torchvision::nms does not exist.*another build than torch.*doctor"):
        BACKBONES.get(name)(48, 1)


class _Blocks:
    """Makes the import of one module fail, whether it is installed or not."""

    def __init__(self, module, error=None):
        self.module = module
        self.error = error or ModuleNotFoundError(f"No module named {module!r}", name=module)

    def find_spec(self, name, path=None, target=None):
        if name == self.module:
            raise self.error

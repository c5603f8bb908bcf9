"""What a network costs, against closed formulas; which networks a name means; failures that stay in their row."""

from __future__ import annotations

import json

import pytest
import torch

from arcformer.errors import InputError
from arcformer.models import BACKBONES, VisionTransformer
from arcformer.studies import profile
from arcformer.studies.profile import (
    Failed,
    Profile,
    Variant,
    as_results,
    measure,
    measure_apart,
    multiply_adds,
    variants,
)

SETTINGS = {"size": 16, "channels": 1, "batch": 2, "device": "cpu"}


def test_multiply_adds_of_a_vision_transformer() -> None:
    """Stem, and in each block four maps of D x D, two of the perceptron and the two products of attention."""
    n, d, depth, mlp, patch = 16, 32, 3, 48, 8
    backbone = VisionTransformer(32, 1, dim=d, depth=depth, heads=4, mlp=mlp, patch=patch, stem="patch")
    expected = n * patch**2 * d + depth * (4 * n * d * d + 2 * n * d * mlp + 2 * n * n * d)
    assert multiply_adds(backbone, torch.zeros(1, 1, 32, 32)) == expected


def test_every_backbone_in_every_size() -> None:
    found = variants()
    assert {variant.name for variant in found} == set(BACKBONES)
    assert [v.label for v in variants(["d4vit"])] == ["d4vit/tiny", "d4vit/small", "d4vit/base"]
    assert variants(["vit/small"]) == [Variant("vit/small", "vit", {"size": "small"})]
    assert {v.label for v in variants(["*/tiny"])} == {f"{name}/tiny" for name in BACKBONES}
    assert [v.label for v in variants(["swin/tiny", "hf:vit", "swin/t*"])] == ["swin/tiny", "hf:vit"]
    with pytest.raises(InputError, match="no backbone is called 'vti': did you mean 'vit'"):
        variants(["vti"])
    own = "arcformer.models.vit:VisionTransformer"
    assert variants([own])[1] == Variant(f"{own}/small", own, {"size": "small"})
    assert variants(["no.such:Backbone"]) == [Variant("no.such:Backbone", "no.such:Backbone")]
    with pytest.raises(InputError, match="did you mean 'vit/small'"):
        variants(["vit/smal"])


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "SECONDS", 0.0)


@pytest.mark.parametrize("name", [v.label for v in variants(["*/tiny"])])
def test_every_family_is_measured(name: str, hasty: None) -> None:
    (variant,) = variants([name])
    found = measure(variant, **SETTINGS)
    assert found.parameters == sum(p.numel() for p in BACKBONES.get(variant.name)(16, 1, size="tiny").parameters())
    assert min(found.multiply_adds, found.forward, found.training) > 0


def test_a_failure_is_told_and_a_process_that_dies_too(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "failing.py").write_text(
        "import os\n"
        "from arcformer.models import BACKBONES, Backbone\n"
        "class Dies(Backbone):\n"
        "    def __init__(self, image_size, channels): os.abort()\n"
        "    def features(self, images, context=None): ...\n"
    )
    monkeypatch.chdir(tmp_path)
    assert measure_apart(Variant("d", "failing:Dies"), **SETTINGS).why.startswith("its process was killed by signal 6")


def test_what_a_child_says_is_a_profile_or_why_not(hasty: None) -> None:
    def asked(name: str, **options: object) -> dict:
        request = {"variant": {"label": name, "name": name, "options": options}, "settings": SETTINGS}
        return json.loads(profile._answer(json.dumps(request)))

    assert Profile(**asked("vit", size="tiny")).parameters > 0
    assert "cannot be imported" in asked("no.such:Backbone")["why"]
    assert "sizes must be positive" in asked("vit", depth=0)["why"]
    assert asked("vit", no_such=1)["why"].startswith("TypeError: ")


def test_results_are_flat_rows_with_where_and_how() -> None:
    found = {"vit/tiny": Profile(10, 20, 3.0, 1.5, None), "hf:x": Failed("no such")}
    results = as_results(found, SETTINGS)
    assert results["rows"] == [
        {"name": "parameters vit/tiny", "value": 10, "unit": ""},
        {"name": "multiply_adds vit/tiny", "value": 20, "unit": "per image"},
        {"name": "forward vit/tiny", "value": 3.0, "unit": "images/s"},
        {"name": "training vit/tiny", "value": 1.5, "unit": "images/s"},
    ]
    assert results["failed"] == {"hf:x": "no such"}
    assert results["profile"] == SETTINGS
    assert {"date", "device", "versions", "commit"} <= results.keys()

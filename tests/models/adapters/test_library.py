"""Libraries that are not there or cannot be imported."""

from __future__ import annotations

import sys

import pytest

from arcformer.errors import InputError
from arcformer.models import BACKBONES


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

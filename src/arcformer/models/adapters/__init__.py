"""Networks of other libraries as backbones: ``hf:...`` of transformers, ``timm:...`` and ``torchvision:...``.

Their names stand where a registered name would, with the options ``config``, passed on to the library, and
``pretrained``. ``adapter.py`` is what they have in common; no library is imported before its prefix is used.
"""

from arcformer.models.adapters.hugging_face import HuggingFace
from arcformer.models.adapters.timm import Timm
from arcformer.models.adapters.torchvision import Torchvision

__all__ = ["HuggingFace", "Timm", "Torchvision"]

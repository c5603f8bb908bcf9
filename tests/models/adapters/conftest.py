"""Libraries that are stood in for."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable

import pytest


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``stand_in("timm", create_model=...)`` is the library timm from then on, whether it is installed or not."""

    def put(name: str, **members: object) -> None:
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)

    return put

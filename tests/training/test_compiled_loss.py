"""Training with a compiled loss, and a machine that cannot compile one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from arcformer.errors import InputError
from arcformer.training import fit
from arcformer.training.compiled import compiled


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    torch.compiler.reset()


def test_without_a_compiler_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, recipe: Callable, tmp_path: Path
) -> None:
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "no-such-compiler"))
    with (
        torch._inductor.config.patch(force_disable_caches=True),
        pytest.raises(
            InputError, match=r"training\.compile: torch cannot compile this here \(.*no-such-comp"
        ) as caught,
    ):
        fit(recipe("training.compile=true"), tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_errors_of_the_user_stay_what_they_are() -> None:
    def loss(batch: torch.Tensor) -> dict[str, torch.Tensor]:
        if batch.shape[0] == 3:
            raise InputError("no threes")
        return {"loss": batch.sum()}

    with pytest.raises(InputError, match="no threes"):
        compiled(loss)(torch.ones(3))

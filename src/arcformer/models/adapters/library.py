"""Libraries that are imported when they are asked for, and whose errors are put into words."""

from __future__ import annotations

import importlib
from typing import Any

import torch

from arcformer.errors import InputError

__all__ = ["library", "said_in_words", "words"]


def library(module: str, extra: str) -> Any:
    """Import a library that is not needed otherwise."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            raise InputError(
                f'{extra}:... needs {module}, which is not installed: pip install "arcformer[{extra}]"'
            ) from None
        raise InputError(f"{extra}:... needs {module}, which needs {error.name}, which is not installed") from error
    except Exception as error:  # torchvision dies of a RuntimeError beside a torch of another build
        raise InputError(
            f"{extra}:... needs {module}, which cannot be imported ({words(error)}). Where torchvision is another "
            f"build than torch {torch.__version__} (CUDA beside CPU, or another version), install the one that belongs "
            "to it, or none; see arcformer doctor"
        ) from error


class said_in_words:
    """Errors inside, of whatever kind, become an ``InputError`` of one line."""

    def __init__(self, title: str, what: str):
        self.title, self.what = title, what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, InputError):
            raise InputError(f"{self.title} {self.what}: {words(error)}") from error


def words(error: Exception) -> str:
    """An error in one line of bearable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."

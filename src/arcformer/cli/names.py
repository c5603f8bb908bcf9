"""``arcformer models`` and ``arcformer tasks``: what a run file can name, and the options that each name takes."""

from __future__ import annotations

import inspect
import types
import typing
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

import typer

from arcformer.cli.output import say, table
from arcformer.errors import InputError, near

if TYPE_CHECKING:
    from arcformer.registry import Registry

__all__ = ["models", "tasks"]

Pattern = Annotated[str, typer.Argument(help="A name, a pattern as 'vit*', or an import string module:Class.")]


def models(pattern: Pattern = "*") -> None:
    """List the backbones and their options.

    The options are fields of [backbone] in a run file, or overrides backbone.field=value.

    Example:
      arcformer models
      arcformer models 'vit*'
      arcformer models hf:swinv2
    """
    from arcformer.models import BACKBONES

    for name in _matching(BACKBONES, pattern):
        cls = BACKBONES.get(name)
        _show(name, cls, f"{_parameters_at_tiny(cls):,} parameters at its smallest, for 64 x 64 pixels of one channel")
    if pattern == "*":
        for name, make in BACKBONES.prefixes().items():
            say(f"{name}: {_summary(make)}")


def tasks(pattern: Pattern = "*") -> None:
    """List the tasks and their options.

    The options are fields of [task] in a run file, or overrides task.field=value.

    Example:
      arcformer tasks
      arcformer tasks classify
    """
    from arcformer.tasks import TASKS

    for name in _matching(TASKS, pattern):
        cls = TASKS.get(name)
        metric, better = cls.monitor
        _show(name, cls, f"its best weights are those of the {better}imum of {metric} in validation")


def _matching(registry: Registry[Any], pattern: str) -> list[str]:
    names = registry.names(pattern) or ([pattern] if ":" in pattern else [])
    if not names:
        raise InputError(f"no {registry.kind} is called {pattern!r}: {near(pattern.strip('*?'), registry)}")
    return names


def _show(name: str, cls: Any, fact: str) -> None:
    from arcformer.config import options_of

    say(f"{name}: {_summary(cls)}\n  {fact}")
    options = options_of(cls).model_fields
    rows = [
        (f"  {option}", spelled(field.annotation), "required" if field.is_required() else spelled_value(field.default))
        for option, field in options.items()
    ]
    if rows:
        table(("  option", "type", "default"), rows)
    say()


def _summary(documented: Any) -> str:
    return (inspect.getdoc(documented) or "").partition("\n\n")[0].replace("\n", " ")


def _parameters_at_tiny(cls: Any) -> int:
    """Parameters of a backbone of size ``tiny``, where it has sizes; none of them is drawn."""
    import torch

    from arcformer.config import options_of

    size = {"size": "tiny"} if "size" in options_of(cls).model_fields else {}
    with torch.device("meta"):
        backbone = cls(64, 1, **size)
    return sum(parameter.numel() for parameter in backbone.parameters())


def spelled(annotation: Any) -> str:
    """A type as a person writes it: ``tiny | small``, ``int | none``."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " | ".join(map(spelled, arguments))
    if annotation is type(None):
        return "none"
    return str(annotation) if arguments else getattr(annotation, "__name__", str(annotation))


def spelled_value(value: Any) -> str:
    """A default as a run file has it; TOML has no null, and leaving a field out means none."""
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

"""``arcformer models`` and ``arcformer tasks``: what a run file can name, and the options that each name takes."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

import typer

from arcformer.cli.output import note, say, table
from arcformer.errors import InputError, near

if TYPE_CHECKING:
    from arcformer.registry import Registry
    from arcformer.studies.profile import Failed, Profile

__all__ = ["models", "spelled", "spelled_value", "summary", "tasks"]

Pattern = Annotated[str, typer.Argument(help="A name, a pattern as 'vit*', or an import string module:Class.")]


def models(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names, patterns as 'vit*', or import strings module:Class; with --profile also vit/small."
        ),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Measure what each costs, in all its sizes: minutes.")
    ] = False,
    size: Annotated[int | None, typer.Option(metavar="P", min=1, help="Side of the images, pixels; 64.")] = None,
    channels: Annotated[int | None, typer.Option(metavar="C", min=1, help="Of the images; 1.")] = None,
    batch: Annotated[int | None, typer.Option(metavar="N", min=1, help="Images in a batch; 64.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the profile there as well.")
    ] = None,
) -> None:
    """List the backbones and their options, or measure what they cost.

    The options are fields of [backbone] in a run file, or overrides backbone.field=value. The profile is of each
    backbone in each of its sizes: parameters; multiply-adds of an image; images a second, forward and in training
    (float32, AdamW); memory that training takes. It is on the GPU where there is one. Measure while nothing else runs.

    Example:
      arcformer models
      arcformer models 'vit*'
      arcformer models hf:swinv2
      arcformer models --profile '*/tiny' hf:vit --size 96
    """
    from arcformer.models import BACKBONES

    names = names or ["*"]
    measured = {"--size": size, "--channels": channels, "--batch": batch, "--json": json_file}
    if profile:
        _profile(names, {"size": size or 64, "channels": channels or 1, "batch": batch or 64}, json_file)
        return
    if given := [option for option, value in measured.items() if value is not None]:
        raise InputError(f"{', '.join(given)}: for what is measured; say --profile as well")
    for name in dict.fromkeys(name for pattern in names for name in _matching(BACKBONES, pattern)):
        cls = BACKBONES.get(name)
        _show(name, cls, f"{_parameters_at_tiny(cls):,} parameters at its smallest, for 64 x 64 pixels of one channel")
    if names == ["*"]:
        for name, make in BACKBONES.prefixes().items():
            say(f"{name}: {summary(make)}")


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


def _profile(names: Sequence[str], settings: dict[str, Any], path: Path | None) -> None:
    """Measure what is meant by ``names``, one after another, print it and write it to ``path``."""
    import torch

    from arcformer.disk import unwritable, whole
    from arcformer.progress import track
    from arcformer.studies.profile import Failed, as_results, measure_apart, variants

    asked = variants(names)
    settings["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    if path is not None:
        with unwritable(path):
            _check_profile(path)
    found: dict[str, Profile | Failed] = {}
    for variant in track(asked, "measuring", unit="models"):
        found[variant.label] = measure_apart(variant, **settings)
        if path is not None:
            with unwritable(path), whole(path) as unfinished:
                unfinished.write_text(json.dumps(as_results(found, settings), indent=1) + "\n")
    columns = ("model", "parameters", "multiply-adds", "forward", "training", "memory")
    table(columns, [(label, *_costs(profile)) for label, profile in found.items()])
    failed = {label: profile.why for label, profile in found.items() if isinstance(profile, Failed)}
    for label, why in failed.items():
        note(f"{label}: {why}")
    if len(failed) == len(found):
        raise InputError("nothing could be measured; see above")


def _costs(profile: Profile | Failed) -> tuple[str, ...]:
    from arcformer.studies.profile import Failed

    if isinstance(profile, Failed):
        return ("failed", "", "", "", "")
    memory = "" if profile.memory is None else f"{profile.memory:,.0f} MiB"
    rates = (f"{rate:,.4g} images/s" for rate in (profile.forward, profile.training))
    return f"{profile.parameters:,}", f"{profile.multiply_adds / 1e6:,.4g} M", *rates, memory


def _check_profile(path: Path) -> None:
    """Raise ``InputError`` unless ``path`` is free, or holds a profile, which may be made again."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        return
    try:
        there = json.loads(path.read_text())
    except (OSError, ValueError):
        there = None
    if not (isinstance(there, dict) and isinstance(there.get("profile"), dict)):
        raise InputError(f"--json {path}: holds something else, and nothing is overwritten: name another file")


def _matching(registry: Registry[Any], pattern: str) -> list[str]:
    names = registry.names(pattern) or ([pattern] if ":" in pattern else [])
    if not names:
        raise InputError(f"no {registry.kind} is called {pattern!r}: {near(pattern.strip('*?'), registry)}")
    return names


def _show(name: str, cls: Any, fact: str) -> None:
    from arcformer.config import options_of

    say(f"{name}: {summary(cls)}\n  {fact}")
    options = options_of(cls).model_fields
    rows = [
        (f"  {option}", spelled(field.annotation), "required" if field.is_required() else spelled_value(field.default))
        for option, field in options.items()
    ]
    if rows:
        table(("  option", "type", "default"), rows)
    say()


def summary(documented: Any) -> str:
    """What a docstring begins with, in a line."""
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
    from arcformer.config import Component

    if isinstance(value, Component):
        return value.name
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

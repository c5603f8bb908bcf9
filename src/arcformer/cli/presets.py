"""``arcformer presets``: what can be simulated, and everything that a preset consists of."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arcformer.cli.output import say, table

if TYPE_CHECKING:
    from arcformer.sim.presets import Preset

__all__ = ["presets"]


def presets(name: Annotated[str | None, typer.Argument(help="One preset, to see all of it.")] = None) -> None:
    """List what can be simulated.

    Of one preset, everything: priors, faults, assumptions, provenance. Angles are in arcsec, masses in solar masses.

    Example:
      arcformer presets
      arcformer presets deeplense/model-1
    """
    from arcformer.sim.presets import PRESETS

    if name is not None:
        _show(PRESETS.get(name))
        return
    found = [PRESETS.get(name) for name in PRESETS]
    table(("preset", "classes", "pixels", 'scale ["]', "summary"), [_row(preset) for preset in found])


def _row(preset: Preset) -> tuple[object, ...]:
    side = f"{preset.pixels} x {preset.pixels}"
    return preset.name, ", ".join(preset.classes), side, f"{preset.pixel_scale:g}", preset.summary


def _show(preset: Preset) -> None:
    say(f"{preset.name}: {preset.summary}")
    aliases = {name: [alias for alias, meant in preset.aliases.items() if meant == name] for name in preset.classes}
    rows = [
        (name, described(population), ", ".join(aliases[name]) or "-")
        for name, population in preset.populations.items()
    ]
    say("\nclasses, in the order of their labels")
    table(("class", "substructure", "also called"), rows)
    for section in (field.name for field in fields(preset) if is_dataclass(getattr(preset, field.name))):
        part = getattr(preset, section)
        named = {field.name: getattr(part, field.name) for field in fields(part)}
        say(f"\n{section}")
        table(("parameter", "value"), [(name, described(value)) for name, value in named.items() if value is not None])
    say(f"\nimages: {preset.pixels} x {preset.pixels} pixels, in {preset.unit}")
    say("\ntargets, of which a run regresses those that it names")
    table(("target", "unit", "what", "of"), _targets(preset))
    for heading in ("faults", "assumptions"):
        lines = getattr(preset, heading)
        say(f"\n{heading}: {'none' if not lines else ''}".rstrip())
        for line in lines:
            say(f"  - {line}")
    say(f"\nprovenance: {preset.provenance or 'of this library'}")


def _targets(preset: Preset) -> list[tuple[str, ...]]:
    """Each target with its unit, what it is, and the classes that have it; or its value, where it never varies."""
    import torch

    from arcformer.sim.parameters import TARGETS, target, unit_of
    from arcformer.sim.render import draw

    labels = torch.arange(len(preset.classes)).repeat(8)
    drawn = draw(preset, labels, 0)
    rows = []
    for name in preset.targets:
        values, known = target(name, drawn), preset.classes_with(name)
        first, last = (float(end) for end in values[values.isfinite()].aminmax())
        of = "all classes" if known == preset.classes else ", ".join(known)
        rows.append((name, unit_of(name) or "-", TARGETS.get(name, ""), f"{of}: {first:g}" if first == last else of))
    return rows


def described(value: Any) -> str:
    """A prior or another part of a preset in a line, as ``Uniform(low=-0.35, high=0.35)``."""
    if is_dataclass(value):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        inside = ", ".join(f"{name}={described(part)}" for name, part in parts.items() if part is not None)
        return f"{type(value).__name__}({inside})"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(described, value))})"
    return str(value)

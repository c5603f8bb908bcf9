"""Configuration: pydantic sections read from TOML, overridden by ``a.b=value``, all faults reported at once.

The rule that ties it to classes: a registered class takes what the program knows (image size, classes, backbone) as
positional parameters, and what the user chooses as keyword-only ones. The latter are its options in a run file, with
their types and defaults; nothing is declared twice.
"""

from __future__ import annotations

import inspect
import json
import re
import tomllib
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tomli_w
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, create_model

from arcformer.errors import InputError, maybe, near
from arcformer.registry import Registry

__all__ = [
    "Component",
    "Faults",
    "Section",
    "as_toml",
    "component",
    "flat",
    "listed",
    "options_of",
    "parse",
    "read",
    "read_toml",
    "write",
]

S = TypeVar("S", bound="Section")


class Section(BaseModel):
    """A part of a configuration: frozen, and closed to names that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Component(BaseModel):
    """A registered name and options for its constructor, as ``[backbone] name = "vit", size = "tiny"``."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """What is passed to the constructor by keyword."""
        return dict(self.model_extra or {})


def component(registry: Registry[Any], default: str) -> Any:
    """The type of a field that names an entry of ``registry``: its options checked, their defaults filled in.

    Where the name is left out, ``default`` stands, so that ``backbone.patch=4`` alone is an override; where there are
    no options, ``backbone = "swin"`` is enough.
    """

    def name(value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        return {"name": default} | value if isinstance(value, dict) else value

    def resolve(value: Component) -> Component:
        schema = options_of(registry.get(value.name))
        try:
            options = schema.model_validate(value.options)
        except ValidationError as error:
            raise _BadOptions(error, schema) from None
        return Component(name=value.name, **{option: getattr(options, option) for option in schema.model_fields})

    return Annotated[Component, BeforeValidator(name), AfterValidator(resolve)]


def listed(value: Any) -> Any:
    """A name alone as one of a sequence, for fields that take one or several."""
    return (value,) if isinstance(value, str) else value


def options_of(cls: Any) -> type[Section]:
    """The keyword-only parameters of a constructor as a section: their names, types and defaults."""
    hints = typing.get_type_hints(cls.__init__ if inspect.isclass(cls) else cls, include_extras=True)
    parameters = inspect.signature(cls).parameters.values()
    chosen = {
        p.name: (hints.get(p.name, Any), ... if p.default is p.empty else p.default)
        for p in parameters
        if p.kind is p.KEYWORD_ONLY
    }
    return create_model(cls.__name__, __base__=Section, **typing.cast(Any, chosen))


def read(schema: type[S], path: str | Path | None = None, overrides: Sequence[str] = ()) -> S:
    """The configuration in a TOML file (or the defaults), with overrides ``a.b=value`` applied.

    A value is read as TOML (``training.rate=1e-3``, ``data.classes=["no_sub","cdm"]``), and as a plain string where
    that fails.

    Raises:
        InputError: naming every faulty field with its path, what is allowed there, and near names.
    """
    tree = read_toml(Path(path)) if path else {}
    for override in overrides:
        _set(tree, override)
    return parse(schema, tree, str(path) if path else "the configuration")


def parse(schema: type[S], tree: dict[str, Any], where: str) -> S:
    """The configuration in a tree of tables, as TOML gives it; ``where`` it comes from begins the message.

    Raises:
        Faults: naming every faulty field with its path, what is allowed there, and near names.
    """
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        raise Faults(where, _faults(error, schema)) from None


class Faults(InputError):
    """All that is wrong with a configuration: ``lines``, one a fault, as ``a.b: what is wrong``."""

    def __init__(self, where: str, lines: Sequence[str]):
        self.lines = tuple(lines)
        count = "one fault" if len(lines) == 1 else f"{len(lines)} faults"
        super().__init__(f"{where}: {count}\n" + "\n".join(f"  {line}" for line in lines))


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by their path, as ``training.rate``."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def as_toml(config: BaseModel) -> str:
    """A resolved configuration as TOML."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def write(config: BaseModel, path: str | Path) -> None:
    """Write a resolved configuration as TOML; ``read`` gives it back."""
    Path(path).write_bytes(as_toml(config).encode())


class _BadOptions(ValueError):
    """Carries the faults of a component's options, with their schema, out through the section that holds it."""

    def __init__(self, error: ValidationError, schema: type[Section]):
        super().__init__(str(error))
        self.error, self.schema = error, schema


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        InputError: no such file, or it is not TOML.
    """
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); expected a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}") from None


def _set(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise InputError(f"override {override!r} is not of the form section.field=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, leaf = key.strip().split(".")
    for parent in parents:
        if isinstance(tree.get(parent), str):  # a component, given by its name alone
            tree[parent] = {"name": tree[parent]}
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise InputError(f"override {override!r}: {parent!r} is a value, not a section")
    tree[leaf] = value


def _faults(error: ValidationError, schema: type[BaseModel], prefix: tuple[str, ...] = ()) -> list[str]:
    """Every fault of ``error`` as a line ``a.b: what is wrong``, those of nested components included."""
    lines = []
    for fault in error.errors():
        path = (*prefix, *(str(part) for part in fault["loc"]))
        cause = fault.get("ctx", {}).get("error")
        if isinstance(cause, _BadOptions):
            lines += _faults(cause.error, cause.schema, path)
            continue
        message = str(cause) if isinstance(cause, InputError) else _said(fault)
        if fault["type"] == "extra_forbidden":
            message = f"unknown field; {near(path[-1], _fields_at(schema, fault['loc'][:-1]))}"
        elif fault["type"] != "missing" and cause is None:
            message = f"{message}, got {json.dumps(fault['input'], default=str)}"
            if fault["type"] == "literal_error":
                message += maybe(
                    str(fault["input"]), re.findall(r"'([^']*)'", fault.get("ctx", {}).get("expected", ""))
                )
        lines.append(f"{'.'.join(path)}: {message}")
    return lines


def _said(fault: Any) -> str:
    """What is wrong, less ``got``; in our words where a person could not tell from pydantic's what to write."""
    match fault["type"]:
        case "list_type" | "tuple_type":
            return f"expected a list in brackets, as [{json.dumps(fault['input'], default=str)}]"
        case "too_short":
            return f"expected a list of {fault['ctx']['min_length']} or more"
        case "dict_type" | "model_type" | "model_attributes_type":
            return "expected a table with fields of its own"
    return fault["msg"]


def _fields_at(schema: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    for part in path:
        annotation = schema.model_fields[part].annotation
        kinds = typing.get_args(annotation) or (annotation,)  # of an optional section, that which is not None
        schema = next(kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, BaseModel))
    return list(schema.model_fields)

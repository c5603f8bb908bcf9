"""Names for classes: how a backbone, a task or a preset is found from a word in a configuration."""

from __future__ import annotations

import fnmatch
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar, cast

from arcformer.errors import InputError, near

__all__ = ["Registry"]

T = TypeVar("T")
E = TypeVar("E")


class Registry(Generic[T]):
    """Registered objects of one kind, by name.

    A name that holds a colon is an import string, ``package.module:Class``, and works wherever a registered name
    does; the current folder is searched first, so that a user's own file needs no installation.

    >>> backbones = Registry("backbone")
    >>> @backbones.register("vit")
    ... class Vit: ...
    >>> backbones.get("vit") is Vit
    True
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[E], E]:
        """A decorator that enters its object under ``name``; a name can be taken once."""

        def enter(entry: E) -> E:  # not T: what is decorated keeps its own type
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered already, as {self._entries[name]!r}")
            self._entries[name] = cast(T, entry)
            return entry

        return enter

    def get(self, name: str) -> T:
        """The object behind a registered name or an import string; raises ``InputError`` with near names."""
        if name in self._entries:
            return self._entries[name]
        if ":" in name:
            return self._import(name)
        raise InputError(f"unknown {self.kind} {name!r}: {near(name, self._entries)}")

    def names(self, pattern: str = "*") -> list[str]:
        """Registered names that match a shell pattern, sorted."""
        return sorted(fnmatch.filter(self._entries, pattern))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def _import(self, name: str) -> T:
        module, _, attribute = name.partition(":")
        here = str(Path.cwd())
        sys.path.insert(0, here)
        try:
            if not module or module.startswith("."):
                raise ImportError("it names no module")
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise InputError(
                f"{self.kind} {name!r} cannot be imported ({error}); expected package.module:Class, "
                f"with the module installed or in {here}"
            ) from error
        finally:
            sys.path.remove(here)

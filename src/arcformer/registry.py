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
    does; the current folder is searched first, so that a user's own file needs no installation. Only what stands before
    the colon of a registered prefix is no module: there, a function makes the entry from what comes after it.

    >>> backbones = Registry("backbone")
    >>> @backbones.register("vit")
    ... class Vit: ...
    >>> backbones.get("vit") is Vit
    True
    >>> @backbones.register_prefix("hf")
    ... def from_transformers(architecture: str): ...
    >>> backbones.get("hf:swinv2")  # is from_transformers("swinv2")
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._makers: dict[str, Callable[[str], T]] = {}

    def register(self, name: str) -> Callable[[E], E]:
        """A decorator that enters its object under ``name``; a name can be taken once."""

        def enter(entry: E) -> E:  # not T: what is decorated keeps its own type
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered already, as {self._entries[name]!r}")
            self._entries[name] = cast(T, entry)
            return entry

        return enter

    def register_prefix(self, prefix: str) -> Callable[[Callable[[str], T]], Callable[[str], T]]:
        """A decorator for the function that makes the entry ``prefix:rest`` from ``rest``, for any number of them."""

        def enter(make: Callable[[str], T]) -> Callable[[str], T]:
            if prefix in self._makers:
                raise ValueError(
                    f"prefix {prefix!r} of {self.kind}s is registered already, as {self._makers[prefix]!r}"
                )
            self._makers[prefix] = make
            return make

        return enter

    def get(self, name: str) -> T:
        """The object behind a registered name, a name with a registered prefix or an import string.

        Raises:
            InputError: with near names.
        """
        if name in self._entries:
            return self._entries[name]
        prefix, colon, rest = name.partition(":")
        if colon:
            return self._makers[prefix](rest) if prefix in self._makers else self._import(name)
        raise InputError(f"unknown {self.kind} {name!r}: {near(name, [*self._entries, *self.prefixes()])}")

    def names(self, pattern: str = "*") -> list[str]:
        """Registered names that match a shell pattern, sorted."""
        return sorted(fnmatch.filter(self._entries, pattern))

    def prefixes(self) -> dict[str, Callable[[str], T]]:
        """The functions behind registered prefixes, by ``prefix:...``."""
        return {f"{prefix}:...": make for prefix, make in sorted(self._makers.items())}

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

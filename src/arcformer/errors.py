"""The one error that a user sees, and the near names that go into its message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

__all__ = ["InputError", "chosen", "maybe", "near", "nearest"]

V = TypeVar("V")


class InputError(ValueError):
    """Something that the user gave cannot be used.

    Its text says what came, what is allowed and what to do, in words for a person. The command line prints it
    without a traceback and exits with code 2; a library user catches it as a ``ValueError``.
    """


def near(name: str, choices: Iterable[str]) -> str:
    """The end of a message about an unknown ``name``: the nearest choice first, then all of them.

    >>> near("vitt", ["vit", "swin"])
    "did you mean 'vit'? Known: swin, vit"
    """
    known = sorted(choices)
    close = nearest(name, known)
    listing = f"Known: {', '.join(known)}" if known else "None is known"
    return f"did you mean {close!r}? {listing}" if close else listing


def maybe(name: str, choices: Iterable[str]) -> str:
    """The nearest of many choices, too many to be listed, to be put behind an unknown ``name``.

    >>> maybe("swinv3", transformers.CONFIG_MAPPING)
    " (did you mean 'swinv2'?)"
    """
    close = nearest(name, choices)
    return f" (did you mean {close!r}?)" if close else ""


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice that is most like ``name``, if any is."""
    return next(iter(difflib.get_close_matches(name, list(choices), n=1, cutoff=0.5)), None)


def chosen(choices: Mapping[str, V], name: str, kind: str) -> V:
    """``choices[name]``, for what a user chooses by name.

    Raises:
        InputError: for another name, with near ones.
    """
    if name not in choices:
        raise InputError(f"unknown {kind} {name!r}: {near(name, choices)}")
    return choices[name]

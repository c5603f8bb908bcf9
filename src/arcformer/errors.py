"""The one error that a user sees, and the near names that go into its message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["InputError", "near"]


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
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    listing = f"Known: {', '.join(known)}" if known else "None is known"
    return f"did you mean {close[0]!r}? {listing}" if close else listing

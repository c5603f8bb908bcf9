"""Commands that a person can type again: the one that was given, and the one that goes on where it stopped."""

from __future__ import annotations

import shlex

import typer

__all__ = ["Interrupted", "command_line", "given", "resuming"]


class Interrupted(Exception):
    """The user pressed Ctrl-C; its text says what is kept and how to go on."""


def command_line(*words: str) -> str:
    """A command of this program, as a shell takes it."""
    return shlex.join(["arcformer", *words])


def given(context: typer.Context) -> str:
    """The command that is running."""
    return command_line(*context.obj)


def resuming(context: typer.Context) -> str:
    """The command that is running, with ``--resume``."""
    return command_line(*context.obj, *([] if "--resume" in context.obj else ["--resume"]))

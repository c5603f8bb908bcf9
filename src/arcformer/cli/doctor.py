"""``arcformer doctor``: what this machine has, what it lacks, and what to do about it."""

from __future__ import annotations

import typer

from arcformer.cli.output import say

__all__ = ["doctor"]


def doctor() -> None:
    """Look over this installation.

    At Python, packages, torch, devices, sample data and disk. The exit code is 1 where something is missing that
    arcformer needs.

    Example:
      arcformer doctor
    """
    from arcformer.cli.checkup import checkup

    fit = True
    for finding in checkup():
        say(f"{finding.state:<8}{finding.subject:<13} {finding.text}")
        fit &= finding.state != "missing"
    say("all that is needed is here" if fit else "something is missing; see above")
    if not fit:
        raise typer.Exit(1)

"""Help: at once, for every verb, with examples that work as they stand."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest
import typer.main
from shell import Command

from arcformer.cli.app import VERBS, app

NAMES = [verb.__name__ for verb in VERBS]
HEAVY = ("torch", "lightning", "numpy", "scipy", "sklearn", "matplotlib", "astropy", "caustics", "pydantic", "rich")


def examples(text: str) -> list[str]:
    """The lines of the paragraph of examples."""
    paragraph = text.partition("Example:\n")[2].partition("\n\n")[0]
    return [line.strip() for line in paragraph.splitlines()]


def test_the_verbs_are_those_that_are_documented() -> None:
    assert NAMES == [
        "simulate",
        "show",
        "train",
        "evaluate",
        "study",
        "predict",
        "detect",
        "population",
        "explain",
        "embed",
        "similar",
        "presets",
        "models",
        "tasks",
        "doctor",
    ]


@pytest.mark.parametrize("words", [["--help"], ["-h"], []], ids=str)
def test_help_names_every_verb(arcformer: Command, words: list[str]) -> None:
    ended = arcformer(*words)
    assert (ended.code, ended.err) == (0, "")
    assert all(f"  {name}  " in ended.out for name in NAMES)
    assert len(examples(ended.out)) >= 4


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_examples_that_are_understood(arcformer: Command, name: str) -> None:
    ended = arcformer(name, "--help")
    assert (ended.code, ended.err) == (0, "")
    commands = examples(ended.out)
    assert commands
    for command in commands:
        program, verb, *words = shlex.split(command.partition(" > ")[0])
        assert (program, verb) == ("arcformer", name)
        group = typer.main.get_command(app)
        group.commands[verb].make_context(verb, words)  # pyright: ignore[reportAttributeAccessIssue]


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys; from arcformer.cli import main; main(['--help']); print(sys.modules.keys() & {set(HEAVY)})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "set()"


def test_the_module_runs_and_tells_its_version() -> None:
    command = [sys.executable, "-m", "arcformer", "--version"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("arcformer 0.")

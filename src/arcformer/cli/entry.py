"""Where the program begins, and how it ends: with one clear line and an exit code, whatever went wrong.

0: done. 1: ``doctor`` found something missing, or a run of a ``study`` failed. 2: the user has to change
something. 130: interrupted, by Ctrl-C or by SIGTERM, with which clusters end a job.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from arcformer.cli.app import app
from arcformer.cli.output import first_process, note
from arcformer.cli.resumable import Interrupted
from arcformer.errors import InputError

__all__ = ["main"]

FAULTY, STOPPED = 2, 130

UsageError: Any = typer.BadParameter.__base__
"""The parser's error for an unknown verb or option, and the like."""

OURS = Path(__file__).parents[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, by default that of the process, and return its exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):  # a file's name may hold what the terminal cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _only_our_warnings(), _ended_as_interrupted():
            code = app(args=arguments, prog_name="arcformer", standalone_mode=False, obj=arguments)
        sys.stdout.flush()
    except InputError as error:
        return _complain(str(error))
    except UsageError as error:
        return _complain(_in_a_line(error))
    except Interrupted as error:
        return _complain(str(error), STOPPED)
    except KeyboardInterrupt:
        code = STOPPED
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    return _complain("interrupted", STOPPED) if code == STOPPED else code or 0


def _complain(text: str, code: int = FAULTY) -> int:
    note(f"arcformer: {text}" if first_process() else f"arcformer (another process of this run): {text}")
    return code


def _in_a_line(error: Any) -> str:
    """What the parser found wrong, and where to read on."""
    command = error.ctx.command_path if error.ctx is not None else "arcformer"
    text = " ".join(error.format_message().split()).rstrip(".")
    return f"{text[:1].lower()}{text[1:]}{' See' if text.endswith('?') else '; see'} {command} --help"


@contextmanager
def _only_our_warnings() -> Iterator[None]:
    """Warnings of this package as notes, those of others not at all."""

    def show(message: Warning | str, category: Any, filename: str, *_: Any) -> None:
        if OURS in Path(filename).parents:
            note(f"arcformer: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextmanager
def _ended_as_interrupted() -> Iterator[None]:
    """SIGTERM as Ctrl-C: a study would otherwise take its run for a failed one, and go on with the next."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    ours = threading.current_thread() is threading.main_thread()
    if ours:
        before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, before)

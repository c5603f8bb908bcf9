"""Writing to a disk: whole or not at all, not begun where there is no room, and said in words where it fails."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from arcformer.errors import InputError

__all__ = ["check_space", "replaceable", "unwritable", "whole"]

UMASK = os.umask(0)
"""What the process takes from the rights to new files; it can only be read by setting it."""
os.umask(UMASK)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write a file or folder to, renamed to ``path`` when all is written: ``path`` is never there by halves.

    What a failure leaves behind is removed at once, what a kill leaves behind the next time. A file can be read by
    whom the process lets read its files, which safetensors does not see to.

    Raises:
        OSError: safetensors cannot write its file; it has an error of its own, that of a full disk among others.
    """
    unfinished = path.with_name(f".{path.name}.part")
    _remove(unfinished)
    try:
        yield unfinished
        if unfinished.is_file():
            unfinished.chmod(0o666 & ~UMASK)
        unfinished.replace(path)
    except SafetensorError as error:
        _remove(unfinished)
        raise OSError(f"{path} cannot be written: {error}") from None
    except BaseException:
        _remove(unfinished)
        raise


def check_space(folder: Path, needed: float, what: str) -> None:
    """See that ``needed`` bytes fit on the disk of ``folder``, which need not be there yet.

    Raises:
        InputError: they do not.
    """
    above = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(above).free
    if needed > free:
        raise InputError(
            f"{what} take about {_amount(needed)}, but {_amount(free)} are free for {folder}; "
            "make room or name a folder on another disk"
        )


def replaceable(folder: Path, ours: Collection[str], mark: str, what: str) -> list[Path]:
    """The files in a folder that is to be written anew: none, or all of earlier results of the same kind.

    Args:
        folder: need not be there yet.
        ours: names of the files of such results.
        mark: the one of them that is always among them.
        what: they are, in words.

    Raises:
        InputError: it is no folder, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder for {what}")
    there = sorted(folder.iterdir()) if folder.exists() else []
    foreign = [path.name for path in there if path.name not in ours or path.is_dir()]
    if foreign or (there and not (folder / mark).exists()):
        raise InputError(
            f"{folder} holds something else, as {(foreign or [there[0].name])[0]}, and nothing is overwritten: "
            "name a new folder"
        )
    return there


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """Says of an error of the operating system, in words, that ``folder`` cannot be written to.

    Raises:
        InputError: in its place.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(f"no space is left for {folder}; make room and give the same command again") from None
        above = next((path for path in (folder, *folder.parents) if path.exists()), folder)
        if isinstance(error, FileExistsError | NotADirectoryError) and not above.is_dir():
            raise InputError(
                f"{folder} cannot be written to: {above} is a file, not a folder; name another place"
            ) from None
        raise InputError(f"{folder} cannot be written to ({error.strerror or error})") from None


def _amount(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

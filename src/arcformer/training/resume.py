"""Resume files: what a killed run goes on from, whole or not there at all."""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer

__all__ = ["ResumeFiles", "SaveEvery"]

KEPT = 2


class ResumeFiles(CheckpointIO):
    """Writes a resume file under a new name, flushes it to the disk and renames it; keeps the last two.

    Files hold tensors and plain containers only and are loaded with ``weights_only=True``.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # torch hides that the disk is full behind a complaint of its own
                cause = error.__context__
                raise OSError(cause.errno, cause.strerror, str(path)) if isinstance(cause, OSError) else error from None
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        _flush_folder(path.parent)
        for outdated in [*resume_files(path.parent)[:-KEPT], *path.parent.glob("*.part")]:
            outdated.unlink()

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = True) -> dict:
        """What the newest whole file of the folder ``path`` holds; a damaged one is passed over with a warning.

        Raises:
            FileNotFoundError: no file is whole.
        """
        for file in reversed(resume_files(Path(path))):
            try:
                return _read(file)
            except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
                warnings.warn(f"{file} is damaged ({error}); going back to the resume file before it", stacklevel=1)
        raise FileNotFoundError(f"no resume file in {path} can be read")

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


class SaveEvery(Callback):
    """Saves a resume file every so many steps, when all that belongs to a step is done, its validation included."""

    def __init__(self, folder: Path, steps: int):
        self.folder, self.steps = folder, steps

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx > 0 and trainer.global_step % self.steps == 0:
            trainer.save_checkpoint(self.folder / f"step-{trainer.global_step:09d}.pt")


def resume_files(folder: Path) -> list[Path]:
    """The resume files of a folder, oldest first."""
    return sorted(folder.glob("step-*.pt"))


def _read(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums that it writes
        damaged = archive.testzip()
    if damaged:
        raise zipfile.BadZipFile(f"checksum of {damaged} is wrong")
    return torch.load(path, map_location="cpu", weights_only=True)


def _flush_folder(folder: Path) -> None:
    """Make the renaming itself survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""``fit``: from a configuration to a run folder."""

from __future__ import annotations

import logging
import shutil
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from lightning.fabric.utilities.rank_zero import _get_rank
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from arcformer.errors import InputError
from arcformer.progress import terminal, working
from arcformer.training.build import check_trainable
from arcformer.training.conclude import conclude
from arcformer.training.folder import Run, finished, load
from arcformer.training.journal import Journal
from arcformer.training.module import TrainedTask
from arcformer.training.pipeline import Pipeline
from arcformer.training.prepare import check_folder, nothing_left_behind, prepare
from arcformer.training.progress import Bar
from arcformer.training.recipe import RunConfig, TrainingSection
from arcformer.training.resume import ResumeFiles, SaveEvery, resume_files
from arcformer.training.start import start_of

__all__ = ["fit"]


def fit(config: RunConfig, folder: str | Path, *, resume: bool = False, quiet: bool = False) -> Run:
    """Train as ``config`` says and leave the run in ``folder``.

    With several processes (``training.devices``, ``torchrun``, SLURM) every one of them calls this; the first one
    writes, and all return the run.

    Args:
        folder: new, or empty.
        resume: go on with the run that lies in ``folder``, or begin where nothing lies there yet, so that a job that
            may be interrupted is always the same command. The weights at the end are those of a run left alone.
        quiet: no progress bar, not even on a terminal.

    Raises:
        InputError: something lies in ``folder`` already, or with ``resume`` a run of another configuration; an
            ``init`` that is not a finished run of the same backbone; unusable data; a device or strategy that is not
            there; a loss that is not finite.
        KeyboardInterrupt: on Ctrl-C; ``resume`` goes on from the newest resume file.
    """
    first = not _get_rank()  # None where this is the only process; of the environment, as it is now
    folder, console = Path(folder), terminal(quiet or not first)
    if first:
        check_folder(config, folder, resume)
    if resume and finished(folder):
        console.print(f"the run in {folder} is finished already")
        return load(folder)
    files = folder / "resume"
    check_trainable(config)
    start = None if resume_files(files) else start_of(config, folder)  # once it has begun, a run stands on its own
    weights = None if start is None else start.task.backbone.state_dict()
    module = TrainedTask(config, weights, resumed=bool(resume_files(files)))
    pipeline = Pipeline(config, folder, console)
    journal = Journal(folder / "log.jsonl")
    callbacks = [journal, Bar(console, journal), SaveEvery(files, config.training.save_every)]
    with nothing_left_behind(folder) if first else nullcontext(), hushed(), interruptible():
        trainer = make_trainer(config.training, folder, callbacks)
        if first:
            pipeline.fitted_to = prepare(config, folder, console, start, trainer.strategy.root_device)
        with workers_watched():
            trainer.fit(module, datamodule=pipeline, ckpt_path=str(files) if resume_files(files) else None)
    if trainer.is_global_zero:
        with working("measuring the best weights", console=console):
            conclude(module, pipeline, journal)
        shutil.rmtree(files, ignore_errors=True)
    trainer.strategy.barrier("the run is complete")
    return load(folder)


def make_trainer(training: TrainingSection, folder: Path, callbacks: list[Callback]) -> Trainer:
    """Lightning's Trainer, without what this package does itself or does not want.

    Raises:
        InputError: an accelerator, a number of devices or a strategy that this machine does not have.
    """
    try:
        return Trainer(
            accelerator=training.accelerator,
            devices=training.devices,
            num_nodes=training.num_nodes,
            strategy=training.strategy,
            max_steps=training.steps,
            gradient_clip_val=training.clip or None,
            val_check_interval=training.evaluate_every,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            callbacks=callbacks,
            plugins=[ResumeFiles()],
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise InputError(f"training.accelerator, devices, num_nodes, strategy: {error}") from None


@contextmanager
def workers_watched() -> Iterator[None]:
    """A worker that is killed as an ``InputError``: torch tells of it in a hundred lines."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise InputError(
            "a process that prepares batches has ended unasked: it was killed, perhaps for want of memory (fewer need "
            "less, data.workers); the run can be resumed"
        ) from None


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C as a ``KeyboardInterrupt``; Lightning makes an exit of it and leaves the process deaf to the next one."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as end:
        if not isinstance(end.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None


@contextmanager
def hushed() -> Iterator[None]:
    """Lightning without its tips and notes; what matters is said by this package."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)

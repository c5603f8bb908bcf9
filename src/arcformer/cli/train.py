"""``arcformer train``: from a run file and overrides to a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arcformer.cli.output import first_process, left_out, passed_over, say
from arcformer.cli.resumable import Interrupted, command_line, resuming
from arcformer.errors import InputError

if TYPE_CHECKING:
    from arcformer.training import Run

__all__ = ["train"]


def train(
    context: typer.Context,
    run_file: Annotated[
        str | None, typer.Argument(metavar="RUN.toml", help="What the run is to be; all is as by default without it.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="section.field=value", help="What is to be different from that.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The folder of the run: new, or empty.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in DIR, or begin it if there is none.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the whole configuration as TOML and stop.")
    ] = False,
) -> None:
    """Train a network.

    The run lies in DIR: configuration, weights, numbers and log. The fields are those that --print-config shows;
    "arcformer models" and "arcformer tasks" say what backbone and task take. The same command with --resume goes on
    where a run was interrupted, and ends with the same weights.

    Example:
      arcformer train runs/demo.toml --out demo/run
      arcformer train --out run data.pixels=96 backbone.size=small training.steps=5000
      arcformer train runs/demo.toml --print-config > mine.toml
    """
    from arcformer.config import as_toml, read
    from arcformer.training import RunConfig

    config = read(RunConfig, *_sorted_out([run_file or "", *(overrides or [])]))
    if print_config:
        say(as_toml(config).rstrip())
        return
    if out is None:
        raise InputError("train: --out DIR is missing, the folder that the run is to lie in")
    from arcformer.training import fit

    try:
        run = fit(config, out, resume=resume, quiet=quiet)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {_progress_kept(out)}, with: {resuming(context)}") from None
    if first_process():
        skipped = run.folder / "skipped.txt"
        left_out(skipped.read_text().splitlines() if skipped.exists() else [])
        passed_over(run.metrics.get("images_of_other_classes", {}))
        say(_summary(run))
        say(f"next: {_next(run, out)}")


def _next(run: Run, out: Path) -> str:
    """The command that makes use of a run: its evaluation or, of a pretrained backbone, a run that begins with it."""
    from arcformer.tasks.pretrain import Objective

    if not isinstance(run.task, Objective):
        return command_line("evaluate", str(out), "--out", str(out.with_name(f"{out.name}-report")))
    tuned = str(out.with_name(f"{out.name}-tuned"))
    return command_line("train", str(out / "config.toml"), "--out", tuned, "task=classify", f"init={out}")


def _sorted_out(words: list[str]) -> tuple[str | None, list[str]]:
    """The run file, which is the one word without ``=``, wherever it stands, and the overrides."""
    files = [word for word in words if word and "=" not in word]
    if len(files) > 1:
        raise InputError(f"train takes one run file, got {' and '.join(files)}; an override is section.field=value")
    return (files[0] if files else None), [word for word in words if word and word not in files]


def _progress_kept(folder: Path) -> str:
    """From which step a run that was interrupted goes on."""
    from arcformer.training.resume import resume_files

    kept = resume_files(folder / "resume")
    return f"it goes on from step {int(kept[-1].stem.rpartition('-')[2])}" if kept else "it begins anew"


def _summary(run: Run) -> str:
    from arcformer.studies.evaluate import told_by

    facts, (metric, _) = run.metrics, run.task.monitor
    minutes, seconds = divmod(round(facts["seconds"]), 60)
    validated = facts["validation"]
    told = dict.fromkeys([metric, *told_by(validated)])
    if not run.config.training.steps:
        of_steps, cost = "no step was taken", f"on {facts['device']}"
    else:
        of_steps = f"weights of step {facts['best_step']} of {run.config.training.steps}"
        cost = (
            f"{facts['images_seen']:,} images seen, {facts['images_per_second']:,.0f} images/s, {minutes} min "
            f"{seconds:02d} s on {facts['device']}, {facts['waiting_for_data']:.1%} of it without images"
        )
    return (
        f"validation {', '.join(f'{name} {_number(validated[name])}' for name in told)}; "
        f"{of_steps}\n{cost}\n"
        f"run: {run.folder}"
    )


def _number(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.4g}"

"""The verbs, in the order of the work, put together to one application."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

import typer

from arcformer.cli.detect import detect
from arcformer.cli.doctor import doctor
from arcformer.cli.embed import embed
from arcformer.cli.evaluate import evaluate
from arcformer.cli.explain import explain
from arcformer.cli.names import models, tasks
from arcformer.cli.population import population
from arcformer.cli.predict import predict
from arcformer.cli.presets import presets
from arcformer.cli.show import show
from arcformer.cli.similar import similar
from arcformer.cli.simulate import simulate
from arcformer.cli.study import study
from arcformer.cli.train import train

__all__ = ["VERBS", "app"]

VERBS: tuple[Callable[..., None], ...] = (
    simulate,
    show,
    train,
    evaluate,
    study,
    predict,
    detect,
    population,
    explain,
    embed,
    similar,
    presets,
    models,
    tasks,
    doctor,
)


def _help(function: Callable[..., Any]) -> str:
    """The docstring, with the lines of its examples left as they are."""
    return inspect.cleandoc(function.__doc__ or "").replace("\n\nExample", "\n\n\b\nExample")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"arcformer {version('arcformer')}")
        raise typer.Exit


def _arcformer(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Transformers for dark matter morphology with strong gravitational lensing.

    Example:
      arcformer simulate deeplense/model-1 --count 3000 --out lenses
      arcformer train --out run data.pixels=96 training.steps=2000
      arcformer evaluate run --out report
      arcformer predict run lens.fits
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.callback(help=_help(_arcformer))(_arcformer)
for _verb in VERBS:
    app.command(help=_help(_verb))(_verb)

"""``arcformer evaluate``: a run measured on images that nothing was chosen on, and its report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arcformer.cli.output import left_out, passed_over, say
from arcformer.cli.resumable import given
from arcformer.errors import InputError

if TYPE_CHECKING:
    from arcformer.data.folders import FolderBatches
    from arcformer.data.source import BatchSource
    from arcformer.data.stored import StoredBatches
    from arcformer.predict import Predicted
    from arcformer.studies.report import PredictedImage
    from arcformer.training import Run

__all__ = ["evaluate"]

COUNT, SEED = 3000, 1
TEST = "test"


def evaluate(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for report.html and metrics.json.")],
    count: Annotated[
        int | None, typer.Option(metavar="N", min=1, help=f"How many images are simulated to test on; {COUNT}.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the simulated images and of the intervals.")] = SEED,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER",
            help="Images to compare with, in class folders, or with their targets in the files; repeatable.",
        ),
    ] = None,
    show: Annotated[
        list[Path] | None, typer.Option(metavar="PATH", help="A file or folder to predict and show; repeatable.")
    ] = None,
    pixel_scale: Annotated[
        float | None, typer.Option(metavar="ARCSEC", help="Pixel scale of shown files that do not say theirs.")
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad files out, and list them.")] = False,
) -> None:
    """Test a run and write its report.

    A run on simulated images is tested on new ones of its preset, a run on a folder on the part of it that was kept
    for the test. The report holds every number with its 95 % interval, of classes or of posteriors, and beside them
    what trivial features reach.

    Example:
      arcformer evaluate run --out report
      arcformer evaluate run --out report --count 10000 --reference deeplensesim=Model_I_test --show hubble
    """
    import torch

    from arcformer.studies.evaluate import evaluate as measure
    from arcformer.studies.report import check_folder, write_report
    from arcformer.training import load

    if pixel_scale is not None and not 0 < pixel_scale < math.inf:
        raise InputError(f"--pixel-scale {pixel_scale}: expected a positive number of arcsec")
    named = _named(reference or [])
    run = load(folder)
    check_folder(out, run)
    test, about = _test(run, count, seed)
    references = {name: _reference(run, name, path, skip_bad) for name, path in named.items()}
    shown = _shown(run, show, skip_bad, pixel_scale) if show else []
    run.task.to("cuda" if torch.cuda.is_available() else "cpu")
    first = measure(run, test, name=TEST, about=about, seed=seed)
    others = [
        measure(run, images, name=name, about=f"the {len(images):,} images in {named[name].name}", seed=seed)
        for name, images in references.items()
    ]
    report, numbers = write_report(out, run, [first, *others], shown, command=given(context))
    for sentence in (first.summary(), *(other.agreement(first) for other in others)):
        say(sentence)
    say(f"report: {report}\nnumbers: {numbers}")


def _named(references: list[str]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for text in references:
        name, _, path = text.partition("=")
        if not name.isidentifier() or not path or name == TEST or name in named:
            raise InputError(
                f"--reference {text}: expected NAME=FOLDER, with a name of letters, digits and _ for each, not {TEST!r}"
            )
        named[name] = Path(path)
    return named


def _test(run: Run, count: int | None, seed: int) -> tuple[BatchSource, str]:
    """The images of the test and what they are in words."""
    from arcformer.data.simulated import SimulatedBatches
    from arcformer.sim.presets import PRESETS
    from arcformer.training.sources import open_test
    from arcformer.training.wants import tested_on_all

    data = run.config.data
    if data.folder is not None and count is not None:
        raise InputError(f"--count is for simulated images; of {data.folder} the whole test part is taken")
    count = COUNT if count is None else count
    source = open_test(run.config, run.folder / "split.json", count=count, seed=seed)
    if isinstance(source, SimulatedBatches):
        alone = source.classes != PRESETS.get(data.preset).classes
        what = f"{data.preset} ({' and '.join(source.classes)} alone)" if alone else data.preset
        return source, f"{count:,} simulated images of {what} (seed {seed})"
    kept = f"{len(source):,} images in {data.folder} that were"
    return source, f"the {kept} {'not trained on' if tested_on_all(run.config) else 'kept for the test'}"


def _reference(run: Run, name: str, folder: Path, skip_bad: bool) -> FolderBatches | StoredBatches:
    from arcformer.data.folders import FolderBatches
    from arcformer.progress import track
    from arcformer.training.sources import open_labelled

    images = open_labelled(
        run.config, folder, skip_bad=skip_bad, progress=lambda paths: track(paths, f"reading {name}", unit="files")
    )
    if isinstance(images, FolderBatches):
        left_out(images.catalogue.bad, images.catalogue.junk, f"{folder}: ")
    passed_over(images.others, f"{folder}: ")
    return images


def _shown(run: Run, paths: list[Path], skip_bad: bool, pixel_scale: float | None) -> list[PredictedImage]:
    """Telescope images as the report shows them."""
    from arcformer.predict import predict
    from arcformer.progress import track
    from arcformer.studies.report import PredictedImage

    predictions = predict(
        run, paths, skip_bad=skip_bad, progress=lambda paths: track(paths, "predicting"), pixel_scale=pixel_scale
    )
    left_out(predictions.skipped, predictions.junk, "shown: ")
    return [PredictedImage(found.path.name, _says(found), found.notes, found.picture()) for found in predictions.found]


def _says(found: Predicted) -> dict[str, str | float]:
    """What the run says of an image: probabilities of classes, or else the columns of its task."""
    return dict(found.probabilities) or dict(found.says)

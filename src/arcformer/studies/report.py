"""The report of a run: one HTML file that needs nothing else, and its numbers as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from arcformer.disk import whole
from arcformer.errors import InputError
from arcformer.sim.presets import PRESETS
from arcformer.studies import figures
from arcformer.studies.evaluation import Evaluation
from arcformer.studies.pictures import image_grid
from arcformer.studies.sentences import with_interval
from arcformer.studies.style import data_uri, png_uri, svg_uri

if TYPE_CHECKING:
    from arcformer.training import Run

__all__ = ["PredictedImage", "check_folder", "write_report"]


@dataclass(frozen=True)
class PredictedImage:
    """A telescope image in the report.

    Attributes:
        name: the file, or what else it is called.
        says: what the run says of it: columns of the table, as the probability of each class.
        notes: lines on what is unusual about it, as that it lies outside what the network has seen.
        picture: a PNG, its bytes or where it lies.
    """

    name: str
    says: Mapping[str, str | float]
    notes: Sequence[str] = ()
    picture: bytes | Path | None = None

    @property
    def picture_uri(self) -> str | None:
        content = self.picture.read_bytes() if isinstance(self.picture, Path) else self.picture
        return None if content is None else data_uri(content, "image/png")


def write_report(
    folder: str | Path,
    run: Run,
    evaluations: Sequence[Evaluation],
    predictions: Sequence[PredictedImage] = (),
    *,
    command: str = "",
) -> tuple[Path, Path]:
    """Write ``report.html`` and ``metrics.json`` to ``folder``, which is made if need be.

    Args:
        run: as ``arcformer.load`` gives it.
        evaluations: the first is the result; of the others the report says whether they agree with it, and their
            numbers in ``metrics.json`` begin with their name, as ``reference_accuracy``.
        predictions: telescope images to show.
        command: that makes this report, for the reader who wants to.

    Returns:
        The paths of the two files.

    Raises:
        InputError: no evaluation, two of one name, or a folder with the report of another run.
    """
    names = [evaluation.name for evaluation in evaluations]
    if not names or len(set(names)) < len(names):
        raise InputError(f"a report needs evaluations, each with a name of its own; there are {names or 'none'}")
    folder, identity = Path(folder), check_folder(folder, run)
    numbers = metrics_json(run, evaluations) | {"run": identity}
    page = _page(run, evaluations, predictions, command)
    folder.mkdir(parents=True, exist_ok=True)
    with whole(folder / "report.html") as path:
        path.write_text(page, encoding="utf-8")
    with whole(folder / "metrics.json") as path:
        path.write_text(json.dumps(numbers, indent=2, allow_nan=False) + "\n")
    return folder / "report.html", folder / "metrics.json"


def check_folder(folder: str | Path, run: Run) -> str:
    """See that a report of ``run`` can be written to ``folder``; what takes long may ask before it starts.

    Returns:
        What tells the run from all others: a digest of its configuration and weights.

    Raises:
        InputError: the folder is a file, or something but this run's own report would be overwritten.
    """
    folder, identity = Path(folder), _identity(run)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder for the report")
    there = [folder / name for name in ("report.html", "metrics.json") if (folder / name).exists()]
    if not there:
        return identity
    try:
        owner = json.loads((folder / "metrics.json").read_text()).get("run")
    except (OSError, ValueError, AttributeError):
        owner = None
    if owner != identity:
        raise InputError(f"{there[0]} is not of this run, and nothing is overwritten: name another folder")
    return identity


def metrics_json(run: Run, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Every estimate under a flat name, as ``Evaluation.numbers`` gives it.

    Under ``facts`` is what has no uncertainty; under ``tables``, where there are any, what is no single number.
    """
    numbers: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    tables: dict[str, Any] = {}
    for place, evaluation in enumerate(evaluations):
        prefix = f"{evaluation.name}_" if place else ""
        named = {f"{prefix}{name}": number for name, number in evaluation.numbers().items()}
        if numbers.keys() & named.keys():
            taken = min(numbers.keys() & named.keys())
            raise InputError(
                f"an evaluation called {evaluation.name!r} has a {taken} as the first one has: name it anew"
            )
        numbers |= named
        tables |= {f"{prefix}{name}": rows for name, rows in evaluation.tables.items()}
        facts |= {
            f"{prefix}images": len(evaluation),
            f"{prefix}about": evaluation.about,
            f"{prefix}seed": evaluation.seed,
            f"{prefix}images_per_second": round(evaluation.images_per_second, 1),
        }
    numbers |= {"tables": tables} if tables else {}
    return numbers | {"facts": facts | {"preset": run.config.data.preset, "training": run.metrics}}


def _page(run: Run, evaluations: Sequence[Evaluation], predictions: Sequence[PredictedImage], command: str) -> str:
    first = evaluations[0]
    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"estimate": with_interval, "said": _said}
    return environment.get_template("report.html.jinja").render(
        run=run,
        config=(run.folder / "config.toml").read_text(encoding="utf-8"),
        preset=PRESETS.get(run.config.data.preset),
        part_name=first.part,
        summary=first.summary(),
        headlines=first.headlines,
        important=[name for name in first.headlines if any(fnmatchcase(name, kind) for kind in first.important)],
        results=[_shown(evaluation, first) for evaluation in evaluations],
        learning_curve=_learning_curve(run),
        predictions=predictions,
        told=dict.fromkeys(name for image in predictions for name in image.says),
        command=command,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _shown(evaluation: Evaluation, first: Evaluation) -> dict[str, Any]:
    """An evaluation with all that the page shows of it."""
    return {
        "evaluation": evaluation,
        "grid": png_uri(image_grid(evaluation.pictured)),
        "agreement": None if evaluation is first else evaluation.agreement(first),
        "colours": {},
        **evaluation.drawn(),
    }


def _template(name: str) -> str:
    return files("arcformer.studies").joinpath(*name.split("/")).read_text(encoding="utf-8")


def _said(value: str | float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _learning_curve(run: Run) -> str | None:
    """The curve of a run that has kept its log."""
    log = run.folder / "log.jsonl"
    if not log.exists():
        return None
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    images_per_step = run.config.training.batch_size * run.metrics.get("processes", 1)
    drawn = figures.learning_curve(lines, run.task.monitor[0], images_per_step, run.metrics.get("best_step"))
    return svg_uri(drawn)


def _identity(run: Run) -> str:
    """What tells a run from all others: a digest of its configuration and weights."""
    digest = hashlib.sha256()
    for name in ("config.toml", "model.safetensors"):
        digest.update((run.folder / name).read_bytes())
    return digest.hexdigest()[:16]

"""``predict``: files in, a table and pictures out, with a note wherever an image is not what the network has seen."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from arcformer.batch import LensBatch
from arcformer.catalogue import catalogue_of, origin, write_catalogued
from arcformer.data.files import FORMATS
from arcformer.disk import replaceable, unwritable, whole
from arcformer.errors import InputError
from arcformer.metrics import CENTRAL, tails
from arcformer.seen import Seen, device_of, through
from arcformer.sim.presets import PRESETS, Preset
from arcformer.studies.pictures import portrait, sigma_layer
from arcformer.studies.predictive import describes, predictive
from arcformer.studies.predictive import picture as predictive_picture
from arcformer.studies.style import png
from arcformer.tasks import Estimator

if TYPE_CHECKING:
    from arcformer.training import Run

__all__ = ["Predicted", "Predictions", "check_folder", "predict", "write_predictions"]

TABLE, SKIPPED, SAMPLES = "predictions.csv", "skipped.txt", "samples.safetensors"

SAID = (0.5, *tails(CENTRAL))
"""Quantiles that stand below a picture: the median, and the ends of the central 68 %."""


@dataclass(frozen=True)
class Predicted:
    """One file.

    Attributes:
        path: the file.
        image: a batch of one, cropped about the lens and resampled as the network sees it, but in the file's own unit.
        seen: the same in the range of the transform, as the network sees it.
        says: what the run says of it: the columns of ``Task.table``.
        place: ``centre_y`` and ``centre_x``, where the lens is in pixels of the file, 0 in the middle of the first;
            ``pixel_scale`` of the file, arcsec, empty where unknown.
        notes: what to know before believing the numbers; none where all is as in training.
        posterior: of a run that estimates targets, samples (S,) of each by name; a row of them belongs together.
        preset: that the run was trained on.
        sigmas: of a run that detects anomalies, where the image is odd, (H, W); None where it does not say.
    """

    path: Path
    image: LensBatch
    seen: LensBatch
    says: dict[str, str | float]
    place: dict[str, str | float]
    notes: tuple[str, ...]
    posterior: Mapping[str, Tensor]
    preset: Preset
    sigmas: Tensor | None = None

    @property
    def row(self) -> dict[str, str | float]:
        """``path``, what the run says, the place, and ``notes``."""
        return {"path": str(self.path), **self.says, **self.place, "notes": "; ".join(self.notes)}

    @property
    def probabilities(self) -> dict[str, float]:
        """Of each class; empty for a task without classes."""
        if "class" not in self.says:
            return {}
        return {name[2:]: float(value) for name, value in self.says.items() if name.startswith("p_")}

    def picture(self) -> bytes:
        """What the network sees, and what it says, as the content of a PNG file.

        Where lens and source are estimated, also the lenses that it may be, rendered anew, and what is left; of a run
        that detects anomalies, where they are.
        """
        scale = self.image.pixel_scale
        if describes(self.posterior) and scale is not None and bool(scale.isfinite()):
            return png(predictive_picture(predictive(self.image, self.posterior, self.preset)))
        quantiles = {name: values.quantile(values.new_tensor(SAID)) for name, values in self.posterior.items()}
        said = ["{} {:.3g} [{:.3g}, {:.3g}]".format(name, *ends.tolist()) for name, ends in quantiles.items()]
        if self.sigmas is not None:
            said = [f"{name} {_number(value, 3)}" for name, value in self.says.items() if value != ""]
        maps = () if self.sigmas is None else (sigma_layer(self.sigmas[None]),)
        return png(portrait(self.image, self.probabilities or None, maps, caption=", ".join(said)))


@dataclass(frozen=True)
class Predictions:
    """All files.

    Attributes:
        found: those that were read, in order.
        skipped: a line for each bad file that was left out.
        junk: how many files in folders were passed over as no images.
    """

    found: tuple[Predicted, ...]
    skipped: tuple[str, ...] = ()
    junk: int = 0


@torch.no_grad()
def predict(
    run: Run,
    paths: Iterable[str | Path],
    *,
    skip_bad: bool = False,
    centre: tuple[float, float] | None = None,
    samples: int | None = None,
    progress: Callable[[Sequence[Path]], Iterable[Path]] = iter,
    **options: Any,
) -> Predictions:
    """What a run says about images in files, on the device where the weights of ``run.task`` lie.

    Each image is cropped about its lens and resampled to the pixels that the network was trained on, its flux kept.

    Args:
        run: as ``arcformer.load`` gives it.
        paths: files, or folders of them.
        skip_bad: whether bad files are left out, and listed.
        centre: where the lens is in every file, y and x in pixels, 0 in the middle of the first; None: it is found.
        samples: how many posterior samples are drawn of each, by a run that estimates targets; None: a few hundred.
        progress: wraps the files while they are predicted, as a progress bar does.
        options: passed to ``read_image``. ``pixel_scale``, arcsec, counts for the files that do not say theirs.

    Raises:
        BadFile: without ``skip_bad``, the first file that cannot be used; with it, when none can.
        InputError: a path that does not exist, no image at all, an option that a format does not have, or ``samples``
            of a run that has no posterior.

    Example:
        >>> for one in predict(arcformer.load("demo/run"), ["lens.fits"]).found:
        ...     print(one.path, one.row["class"], one.probabilities, *one.notes)
    """
    if samples is not None and not isinstance(run.task, Estimator):
        raise InputError(
            f"the run in {run.folder} has no posterior that samples could be drawn from: its task is "
            f"{run.config.task.name}; leave samples out, or train task regress"
        )
    if samples is not None and samples < 1:
        raise InputError(f"{samples} samples: expected at least one")
    reading = {"skip_bad": skip_bad, "centre": centre, "progress": progress, **options}
    return Predictions(*through(run, paths, partial(_predicted, run, samples), **reading))


def write_predictions(
    folder: str | Path,
    predictions: Predictions,
    *,
    picture: Callable[[Predicted], bytes] = Predicted.picture,
    samples_of: Run | None = None,
    progress: Callable[[Sequence[Predicted]], Iterable[Predicted]] = iter,
) -> tuple[Path, list[Path]]:
    """Write ``predictions.csv``, a row a file, and a picture of each; ``skipped.txt`` where files were left out.

    A picture is called like its file, with a number where two are called alike; the table's last column names it.
    ``samples.safetensors`` holds ``samples`` (N, S, P), with the names of the P targets in its metadata, and
    ``samples.csv`` says which row is of which file.

    Args:
        folder: new, empty, or one that this function wrote before and nothing else was put in: then it is replaced.
        predictions: as ``predict`` gives them.
        picture: of one of them, as the content of a PNG file.
        samples_of: the run whose posterior samples are to be written as well.
        progress: wraps what was found while it is drawn, as a progress bar does.

    Returns:
        Where the table lies, and where the pictures lie.

    Raises:
        InputError: the folder holds something else, or cannot be written to.
    """
    folder = Path(folder)
    names = _picture_names([one.path for one in predictions.found])
    with unwritable(folder):
        for path in check_folder(folder):
            path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        rows = [one.row | {"picture": name} for one, name in zip(predictions.found, names, strict=True)]
        with whole(folder / TABLE) as path, path.open("w", newline="", errors="surrogateescape") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else ["path"])
            writer.writeheader()
            writer.writerows({name: _number(value) for name, value in row.items()} for row in rows)
        if predictions.skipped:
            (folder / SKIPPED).write_text("\n".join(predictions.skipped) + "\n", errors="surrogateescape")
        if samples_of is not None:
            _write_samples(folder / SAMPLES, predictions.found, samples_of)
        for one, name in zip(progress(predictions.found), names, strict=True):
            (folder / name).write_bytes(picture(one))
    return folder / TABLE, [folder / name for name in names]


def _write_samples(out: Path, found: Sequence[Predicted], run: Run) -> None:
    samples = torch.stack([torch.stack(list(one.posterior.values()), dim=1) for one in found])
    about = {"posterior": origin(run) | {"targets": list(found[0].posterior)}}
    write_catalogued(out, {"samples": samples}, [one.path for one in found], [one.notes for one in found], about)


def _predicted(run: Run, samples: int | None, one: Seen) -> Predicted:
    seen = one.seen.to(device_of(run))
    task, posterior = run.task, {}
    prediction: Any = task.predict(seen)
    if isinstance(task, Estimator):
        drawn = prediction.samples if samples is None else task.posterior(seen, samples)
        posterior = dict(zip(task.targets, drawn[0].float().cpu().T, strict=True))
    says = {name: column[0] for name, column in run.task.table(prediction).items()}
    y, x = (round(at, 2) for at in one.centre)
    scale = "" if isnan(one.pixel_scale) else float(f"{one.pixel_scale:.6g}")
    preset = PRESETS.get(run.config.data.preset)
    place = {"centre_y": y, "centre_x": x, "pixel_scale": scale}
    return Predicted(one.path, one.image, one.seen, says, place, one.notes, posterior, preset, _map_of(prediction))


def _map_of(prediction: Any) -> Tensor | None:
    """Where the image of a prediction is odd, if it says so."""
    sigmas = getattr(prediction, "sigmas", None)
    if not isinstance(sigmas, Tensor) or sigmas.ndim != 3 or not bool(sigmas.isfinite().any()):
        return None
    return sigmas[0].float().cpu()


def _picture_names(paths: Sequence[Path]) -> list[str]:
    """A name for the picture of each file, like its own and no two alike, not even to a disk that ignores case."""
    taken: set[str] = set()
    names = []
    for path in paths:
        ends = [len(suffix) for suffix in FORMATS if path.name.lower().endswith(suffix)]
        stem = path.name[: len(path.name) - max(ends, default=0)] or "image"
        name, number = f"{stem}.png", 2
        while name.lower() in taken:
            name, number = f"{stem}-{number}.png", number + 1
        taken.add(name.lower())
        names.append(name)
    return names


def check_folder(folder: Path) -> list[Path]:
    """The files of earlier predictions in ``folder``; raises ``InputError`` where it is no folder or holds others."""
    ours = {TABLE, SKIPPED, SAMPLES, catalogue_of(Path(SAMPLES)).name, *_pictures_in(folder / TABLE)}
    return replaceable(folder, ours, TABLE, "the predictions")


def _pictures_in(table: Path) -> set[str]:
    """The pictures that an earlier table names."""
    if not table.is_file():
        return set()
    try:
        with table.open(newline="", errors="surrogateescape") as file:
            return {row["picture"] for row in csv.DictReader(file)}
    except (csv.Error, KeyError, ValueError):
        return set()


def _number(value: str | float, digits: int = 6) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)

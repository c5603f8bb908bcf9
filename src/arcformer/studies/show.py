"""What ``arcformer show`` draws: lenses of a preset, of a store or from files, and what is behind simulated ones."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from arcformer.batch import LensBatch
from arcformer.data.files import find_images, read_image
from arcformer.data.index import Index, is_store
from arcformer.data.observed import observed
from arcformer.data.stored import StoredBatches
from arcformer.errors import InputError, near
from arcformer.sim.behind import substructure_convergence, unlensed_images
from arcformer.sim.presets import PRESETS, Preset
from arcformer.sim.render import simulate
from arcformer.studies.pictures import Layer, convergence_layer, gallery, image_grid, light_layer, portrait

__all__ = ["BEHIND", "show"]

BEHIND = ("convergence", "source")
"""What can be drawn below simulated images."""

MOST_ROWS = 4
"""Of a folder without folders in it."""


def show(
    what: str | Path,
    *,
    count: int = 5,
    seed: int = 0,
    pixels: int | None = None,
    behind: Iterable[str] = (),
    psf: Path | None = None,
    sources: Path | None = None,
    lenses: Path | None = None,
    **reading: Any,
) -> Figure:
    """A picture of lenses: a row for each class, and below it what is ``behind`` its images.

    >>> show("corrected/model-1", behind=["convergence", "source"]).savefig("lenses.png")

    Args:
        what: a preset, a store, a folder of images (its folders are taken for classes), or a file.
        count: images in a row.
        seed: of the images of a preset.
        pixels: side of the central part of them to draw; None for the whole.
        behind: any of ``BEHIND``, for simulated images: the convergence of what is below the halo, the source unlensed.
        psf, sources, lenses: what was observed, for a preset (see ``observed``).
        reading: options of ``read_image``, for files.

    Raises:
        InputError: neither a preset nor a path; a number that cannot be; something behind images of which the truth is
            not known.
        BadFile: a file that cannot be used.
    """
    behind = list(behind)
    if count < 1:
        raise InputError(f"count is {count}: expected at least 1")
    if unknown := [name for name in behind if name not in BEHIND]:
        raise InputError(f"behind an image there is no {unknown[0]!r}; choose from {', '.join(BEHIND)}")
    if str(what) in PRESETS or not Path(what).exists():
        preset = observed(_preset(str(what)), psf=psf, sources=sources, lenses=lenses)
        _not_for_simulated(reading)
        labels = [name for name in preset.classes for _ in range(count)]
        # so few are drawn before they are compiled
        batch = simulate(preset, seed=seed, names=("show",), labels=labels, pixels=pixels, compiled=False)
        return image_grid(batch, _layers(preset, batch, behind, pixels))
    for name, value in (("pixels", pixels), ("psf", psf), ("sources", sources), ("lenses", lenses)):
        if value is not None:
            raise InputError(f"{name} is for a preset; {what} is drawn as it is")
    if is_store(what):
        _not_for_simulated(reading)
        batch = _first_of_each_class(StoredBatches(what, batch_size=256), count)
        if "source_stamp" in batch.extras and "source" in behind:
            raise InputError(f"{what}: its sources are pictures that it does not hold; leave out source")
        preset = PRESETS.get(Index.load(what).plan.preset) if behind else None
        return image_grid(batch, [] if preset is None else _layers(preset, batch, behind, batch.images.shape[-1]))
    if behind:
        raise InputError(f"{what}: what is behind an image is known of a preset or a store only")
    if Path(what).is_file():
        return portrait(read_image(what, **reading))
    return gallery(_files(Path(what), count, reading))


def _preset(name: str) -> Preset:
    if name not in PRESETS and ":" not in name:
        raise InputError(f"{name}: no such file or folder, and no such preset: {near(name, PRESETS)}")
    return PRESETS.get(name)


def _layers(preset: Preset, batch: LensBatch, behind: list[str], pixels: int | None) -> list[Layer]:
    drawn = {name: tensor.cpu() for name, tensor in batch.extras.items()}
    layers = {
        "convergence": lambda: convergence_layer(substructure_convergence(preset, drawn, pixels=pixels)),
        "source": lambda: light_layer(unlensed_images(preset, drawn, pixels=pixels), "1/s", of="unlensed flux"),
    }
    return [layers[name]() for name in BEHIND if name in behind]


def _first_of_each_class(source: StoredBatches, count: int) -> LensBatch:
    """The first ``count`` images of each class, or as many as there are."""
    kept: dict[int, list[LensBatch]] = {k: [] for k in range(len(source.classes))}
    for k in range(source.batches):
        batch = source.batch(k)
        assert batch.labels is not None
        for row, label in enumerate(batch.labels.tolist()):
            if len(kept[label]) < count:
                kept[label].append(batch[row])
        if all(len(images) == count for images in kept.values()):
            break
    return LensBatch.collate([image for images in kept.values() for image in images])


def _files(folder: Path, count: int, reading: dict[str, Any]) -> dict[str, list[LensBatch]]:
    """Images by the folder that they lie in, ``count`` of each; those of one folder in rows of as many."""
    rows: dict[str, list[Path]] = {}
    for file in find_images([folder])[0]:
        rows.setdefault(str(file.parent.relative_to(folder)), []).append(file)
    if len(rows) == 1:
        files = next(iter(rows.values()))[: count * MOST_ROWS]
        rows = {f"{at + 1} ...": files[at : at + count] for at in range(0, len(files), count)}
    return {name: [read_image(file, **reading) for file in files[:count]] for name, files in rows.items()}


def _not_for_simulated(reading: dict[str, Any]) -> None:
    given = [name for name, value in reading.items() if value is not None]
    if given:
        raise InputError(f"{', '.join(given)}: for files, not for simulated images")

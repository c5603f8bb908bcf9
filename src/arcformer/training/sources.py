"""From a configuration to the sources of its batches: to train on, to validate with, to test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from arcformer.batch import LensBatch
from arcformer.data.arrays import mass_among
from arcformer.data.deeplense import Catalogue, has_pairs, scan, scan_pairs
from arcformer.data.fixed import Beginning, chunk_size
from arcformer.data.folders import FolderBatches, check_files
from arcformer.data.index import Index, check_store, is_store
from arcformer.data.simulated import SimulatedBatches
from arcformer.data.source import BatchSource
from arcformer.data.splits import FRACTIONS, few_of_each, load_split, save_split, split
from arcformer.data.stored import StoredBatches
from arcformer.errors import InputError, near
from arcformer.sim.presets import PRESETS
from arcformer.training.recipe import RunConfig
from arcformer.training.wants import calibrated_apart, factor_wanted, targets_wanted, tested_on_all, truth_wanted

__all__ = [
    "first_images",
    "open_calibration",
    "open_labelled",
    "open_sources",
    "open_test",
    "simulated_on",
    "split_files",
]

FITTED_ON = 512
"""Training images, at least, that the transform, the domain and what a task prepares are fitted on."""

Files = FolderBatches | StoredBatches
Progress = Callable[[Iterable[Path]], Iterable[Path]]


def split_files(config: RunConfig, path: Path, progress: Progress = iter) -> tuple[str, ...]:
    """Read all of the configured folder once, files or a store, and write its split to ``path``.

    Returns:
        A line for each bad file that was left out.

    Raises:
        InputError: no images, images in no class or of another preset, images without a target that the task is to
            learn, or bad ones without ``data.skip_bad``.
    """
    folder = _folder(config)
    if is_store(folder):
        check_store(folder, progress)
        _check_preset(config, folder)
        stored = _stored(config, folder)
        _check_targets(stored, targets_wanted(config))
        names, bad = stored.names, ()
    else:
        good = _read_once(config, folder, config.data.skip_bad, progress)
        names, bad = good.names, good.bad
    save_split(path, names, split(names, fractions_of(config), seed=config.data.split_seed))
    return bad


def open_sources(
    config: RunConfig, split_path: Path, device: torch.device | str = "cpu"
) -> tuple[BatchSource, BatchSource]:
    """Training and validation batches; those of a folder follow the split that ``split_files`` wrote.

    Simulated ones are made on ``device``. Where ``data.count`` or ``data.labels`` say how many images there are to
    train on, these come in an order that never changes and in batches of any size, to be held (``fixed.Held``).

    Raises:
        InputError: no split, or an image of it that is not there any more; a task that needs what these images or
            do not hold.
    """
    data, truth = config.data, truth_wanted(config)
    if data.folder is None:
        validation = _simulated(config, "validation", config.seed, data.validation, device, truth)
        if data.fixed:
            return _beginning(config, device, truth), validation
        return _simulated(config, "train", config.seed, device=device, truth=truth), validation
    part = _parts(config, split_path)
    order = {} if data.fixed else {"seed": config.seed, "shuffle": True}
    return part("train", of_each=data.labels, **order), part("validation")


def fractions_of(config: RunConfig) -> dict[str, float]:
    """The parts of a folder and their shares. Training and test are the same files whatever the task."""
    if not calibrated_apart(config):
        return FRACTIONS
    half = FRACTIONS["validation"] / 2
    parts = {"validation": half, "calibration": half}
    return {"train": FRACTIONS["train"], **parts, "test": FRACTIONS["test"]}


def open_calibration(config: RunConfig, split_path: Path, device: torch.device | str = "cpu") -> BatchSource:
    """Images to calibrate on for a task that asks for its own: not trained on, nor used to choose weights.

    Raises:
        InputError: no split, or an image of it that is not there any more.
    """
    if config.data.folder is None:
        count = config.data.calibration
        return _simulated(config, "calibration", config.seed, count, device, truth_wanted(config))
    return _parts(config, split_path)("calibration")


def open_test(
    config: RunConfig, split_path: Path, *, count: int, seed: int, device: torch.device | str = "cpu"
) -> SimulatedBatches | Files:
    """Images that nothing was chosen on: ``count`` fresh ones of the preset, or the test part of the run's folder.

    Simulated ones are made on ``device`` and drawn from a stream of their own: no ``seed``, not even that of the run,
    gives a training image. For a task that is tested on all classes (``Task.tested_on``) those that ``data.only``
    leaves out are among them, of a folder all that lie there: none of these was trained on.

    Raises:
        InputError: no split, an image of it that is not there any more, or none in its test part.
    """
    if config.data.folder is not None:
        return _with_others(config, split_path) if tested_on_all(config) else _parts(config, split_path)("test")
    unmixed: dict[str, Any] = {"mixed": 0.0} | ({"only": ()} if tested_on_all(config) else {})
    config = config.model_copy(update={"data": config.data.model_copy(update=unmixed)})
    return _simulated(config, "test", seed, count, device, truth_wanted(config))


def first_images(source: BatchSource) -> Iterator[LensBatch]:
    """The first batches of a source, on the CPU, until there are ``FITTED_ON`` images or no more."""
    images = 0
    for k in range(source.batches or FITTED_ON):
        batch = source.batch(k)
        images += len(batch)
        yield batch.to("cpu")
        if images >= FITTED_ON:
            return


def simulated_on(device: torch.device) -> torch.device:
    """Where images are simulated for a network on ``device``: on a GPU with it, else on the CPU."""
    return device if device.type == "cuda" else torch.device("cpu")


def open_labelled(config: RunConfig, folder: Path, *, skip_bad: bool = False, progress: Progress = iter) -> Files:
    """All images of a folder, files or a store, labelled by the classes of the run; all are read beforehand.

    Those of other classes are left out (``data.only``) and counted in ``others``, unless the task is tested on all. Of
    files, bad ones that were left out are listed in ``catalogue.bad``, and junk is counted in ``catalogue.junk``.

    Raises:
        InputError: no images, images in no class, or bad ones without ``skip_bad``.
    """
    if is_store(folder):
        check_store(folder, progress)
        return _stored(config, folder, every=tested_on_all(config))
    return _folder_batches(config, _read_once(config, folder, skip_bad, progress, every=tested_on_all(config)))


def _simulated(
    config: RunConfig,
    part: str,
    seed: int,
    count: int | None = None,
    device: torch.device | str = "cpu",
    truth: bool = False,
) -> SimulatedBatches:
    data, size = config.data, config.training.batch_size
    drawn = {"seed": seed, "split": part, "pixels": data.pixels, "count": count} | _paired(config)
    return SimulatedBatches(data.simulated, batch_size=size, device=device, truth=truth, **drawn)


def _beginning(config: RunConfig, device: torch.device | str, truth: bool) -> Beginning:
    """The images of ``data.count`` or ``data.labels``."""
    data = config.data
    endless = SimulatedBatches(
        data.simulated,
        batch_size=chunk_size(len(data.classes)),
        seed=_subset_seed(config),
        split="train",
        pixels=data.pixels,
        device=device,
        truth=truth,
        **_paired(config),
    )
    return Beginning(endless, count=data.count, of_each=data.labels)


def _paired(config: RunConfig) -> dict[str, Any]:
    """How simulated images come with finer ones, where the task learns of pairs."""
    return {"binned" if config.data.pairs == "binned" else "finer": factor_wanted(config)}


def _binned(config: RunConfig) -> int | None:
    return factor_wanted(config) if config.data.pairs == "binned" else None


def _given(config: RunConfig, folder: Path) -> bool:
    """Whether a folder is to be read as pairs of files."""
    return factor_wanted(config) is not None and config.data.pairs == "given" and has_pairs(folder)


def _subset_seed(config: RunConfig) -> int:
    return config.seed if config.data.subset_seed is None else config.data.subset_seed


def _parts(config: RunConfig, split_path: Path) -> Callable[..., Files]:
    """A function from the name of a part of the split to its batches.

    It takes how many images ``of_each`` class there are to be, None for all, and the order of the images.
    """
    folder, classes = _folder(config), config.data.classes
    stored = is_store(folder)
    if stored:
        _check_preset(config, folder)
        rows = load_split(split_path, Index.load(folder).names)
    else:
        catalogue = _scanned(config, folder)
        rows = load_split(split_path, catalogue.names)

    def opened(chosen: Sequence[int], **order: Any) -> Files:
        if not stored:
            return _folder_batches(config, catalogue.select(chosen), **order)
        return _stored(config, folder, rows=chosen, **order)

    def part(name: str, *, of_each: int | None = None, **order: Any) -> Files:
        chosen = rows[name]
        if of_each is not None:
            there = opened(chosen)
            labelled = (there.names, there.labels) if isinstance(there, StoredBatches) else _labelled(there.catalogue)
            few = few_of_each(*labelled, classes, of_each, seed=_subset_seed(config))
            chosen = [chosen[row] for row in few]
        return opened(chosen, **order)

    return part


def _with_others(config: RunConfig, split_path: Path) -> Files:
    """The test part of the run's folder, and all images there of the classes that ``data.only`` leaves out."""
    folder, only = _folder(config), config.data.only
    if is_store(folder):
        _check_preset(config, folder)
        every = _stored(config, folder, every=True)
        names, labels = every.names, every.labels
    else:
        every = _scanned(config, folder, every=True)
        names, labels = every.names, every.labels
    test = set(load_split(split_path, names)["test"])
    rows = [k for k in range(len(names)) if k in test or (only and every.classes[labels[k]] not in only)]
    if isinstance(every, StoredBatches):
        return _stored(config, folder, rows=rows, every=True)
    chosen = every.select(rows)
    return _folder_batches(config, _checked(config, chosen, True) if config.data.skip_bad else chosen)


def _labelled(catalogue: Catalogue) -> tuple[Sequence[str], Sequence[int]]:
    return catalogue.names, catalogue.labels


def _folder(config: RunConfig) -> Path:
    assert config.data.folder is not None
    return config.data.folder


def _read_once(config: RunConfig, folder: Path, skip_bad: bool, progress: Progress, every: bool = False) -> Catalogue:
    """The good files of a folder."""
    return _checked(config, _scanned(config, folder, every), skip_bad, progress)


def _checked(config: RunConfig, catalogue: Catalogue, skip_bad: bool, progress: Progress = iter) -> Catalogue:
    """Those of a catalogue that can be read and have what the task is to learn."""
    checked = {"targets": targets_wanted(config), "skip_bad": skip_bad, "progress": progress}
    return check_files(catalogue, **checked, **_read_as(config, catalogue))


def _scanned(config: RunConfig, folder: Path, every: bool = False) -> Catalogue:
    """The images of a folder: of the classes of the run, or of ``every`` class of its preset."""
    if _given(config, folder):
        return scan_pairs(folder)
    preset, only = PRESETS.get(config.data.preset), config.data.only
    if factor_wanted(config) is not None and config.data.labels is None and not only:
        return scan(folder)  # what is learned of pairs is no class
    loose = only[0] if len(only) == 1 else None
    return scan(folder, preset.classes, preset.aliases, () if every else only, loose)


def _folder_batches(config: RunConfig, catalogue: Catalogue, **order: Any) -> FolderBatches:
    told = {"unit": "" if catalogue.finer else PRESETS.get(config.data.preset).unit, "binned": _binned(config)}
    return FolderBatches(
        catalogue, batch_size=config.training.batch_size, **told, **_read_as(config, catalogue), **order
    )


def _read_as(config: RunConfig, catalogue: Catalogue) -> dict[str, Any]:
    """What files do not say of themselves: their pixel scale, and what the number beside an image is.

    Of pairs, which are in no known unit, the finer ones have the pixels of the preset.
    """
    preset = PRESETS.get(config.data.preset)
    told = {"pixel_scale": preset.pixel_scale, "mass": mass_among(preset.targets)}
    factor = factor_wanted(config)
    if catalogue.finer and factor is not None:
        told |= {"pixel_scale": preset.pixel_scale * factor, "factor": factor}
    return told


def _stored(config: RunConfig, folder: Path, every: bool = False, **order: Any) -> StoredBatches:
    told = {"only": () if every else config.data.only, "binned": _binned(config)}
    return StoredBatches(folder, batch_size=config.training.batch_size, extras=False, **told, **order)


def _check_targets(stored: StoredBatches, wanted: Sequence[str]) -> None:
    """See that every image of a store has the targets that a task is to learn."""
    there = stored.targets
    for name in wanted:
        if name not in there:
            raise InputError(f"{stored.folder} holds no {name} to be learned; {near(name, there)}")
        lacking = there[name].isnan()
        if bool(lacking.any()):
            first = stored.names[int(lacking.nonzero()[0])]
            raise InputError(
                f"{first} in {stored.folder} has no {name} to be learned, nor have {int(lacking.sum()) - 1} more; "
                "choose the classes that have one (data.only)"
            )


def _check_preset(config: RunConfig, folder: Path) -> None:
    """See that a store is of the preset that the run says it is of."""
    there = Index.load(folder).plan.preset
    if there != PRESETS.get(config.data.preset).name:  # which an import string is not
        raise InputError(
            f"{folder} holds images of {there}, and data.preset is {config.data.preset}; set it to {there}"
        )

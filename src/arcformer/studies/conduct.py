"""``run``: the runs of a study, one after another, each once, whatever becomes of the others."""

from __future__ import annotations

import gc
import hashlib
import json
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch
from filelock import SoftFileLock, Timeout
from safetensors.numpy import save_file

from arcformer.config import flat, read, write
from arcformer.disk import unwritable, whole
from arcformer.errors import InputError
from arcformer.studies.contrast import contrasts, write_contrasts
from arcformer.studies.evaluate import evaluate
from arcformer.studies.place import Outcome, Place, outcomes, places
from arcformer.studies.plan import Planned, and_more, plan
from arcformer.studies.results import write_results
from arcformer.studies.study import Study, TestSection
from arcformer.training import fit, load
from arcformer.training.folder import Run, finished
from arcformer.training.sources import open_labelled, open_test

__all__ = ["run"]

PAUSE = 10
"""Seconds between two looks at what another process is at work on."""

COUNT = 3000
"""Images that are simulated for a test where the study does not say."""

TESTED_AT_ONCE = 64
"""Images in a batch of the test; of simulated ones the batch decides what is drawn, so it is not the run's."""


def run(
    study: Study,
    out: str | Path,
    *,
    planned: Sequence[Planned] | None = None,
    retry: bool = False,
    quiet: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Outcome]:
    """Train and test every run of ``study`` that ``out`` does not hold yet, and write the tables.

    A run that was interrupted is resumed. One that fails is noted, with its reason, and the next one begins. Several
    processes may do the same study in the same folder: each run is claimed by one of them, the others pass it over, or
    wait for it where nothing is left but runs that begin with it.

    Args:
        out: new, empty, or with earlier runs of this study.
        planned: the runs, as ``plan`` gives them, for those who have asked it.
        retry: also the runs that failed before.
        quiet: no progress bars.
        tell: is given a line when a run begins and when it ends.

    Returns:
        What has become of each run.

    Raises:
        InputError: a fault in the study, or a folder with something else in it.
        KeyboardInterrupt: on Ctrl-C; the same call goes on.
    """
    out, began = Path(out), time.time()
    planned = plan(study) if planned is None else planned
    check_folder(study, out)
    with unwritable(out):
        out.mkdir(parents=True, exist_ok=True)
        with whole(_mark(study, out)) as path:
            write(study, path)
    where = {one.digest: place for one, place in zip(planned, places(study, planned, out), strict=True)}
    awaited = {one.start.digest for one in planned if one.start is not None}
    left, told = list(enumerate(planned, 1)), set()
    while left:
        later = []
        for number, one in left:
            title, place = f"{number} of {len(planned)}: {one.label}", where[one.digest]
            start = None if one.start is None else where[one.start.digest]
            if not _is_due(place, retry, began):
                continue
            if start is not None and not start.done and not start.failure.exists():
                later.append((number, one))
                continue
            place.folder.mkdir(parents=True, exist_ok=True)
            try:
                with SoftFileLock(place.claim, timeout=1):
                    if not _is_due(place, retry, began):  # by now another process has done it
                        continue
                    tell(title)
                    _attempt(one, place, start, quiet, tell)
            except Timeout:
                if title not in told:
                    tell(f"{title}: claimed {place.state[1]}")
                told.add(title)
                if one.digest in awaited:  # should its process end, another one has to do it
                    later.append((number, one))
                continue
            _tabulate(study, planned, out)
        if len(later) == len(left):
            time.sleep(PAUSE)
        left = later if any(one.start is not None for _, one in later) else []
    found = _tabulate(study, planned, out)
    if study.contrast is not None:
        write_contrasts(contrasts(study.contrast, found, seed=study.test.seed if study.test else 0), out)
    return found


def check_folder(study: Study, out: Path) -> None:
    """See that ``out`` is free, or this study's: its axes may be others now, what is common to its runs may not.

    Raises:
        InputError: it is neither.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; expected a folder for the study")
    if out.exists() and any(out.iterdir()) and not _mark(study, out).exists():
        raise InputError(
            f"{out} is not empty and holds no {_mark(study, out).name}, so it is not of this study, and nothing is "
            "overwritten: name another folder"
        )
    if _mark(study, out).exists():
        there, here = flat(read(Study, _mark(study, out)).run), flat(study.run)
        differing = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
        if differing:
            name = differing[0]
            raise InputError(
                f"{out} holds a study with run.{name} = {there.get(name)!r}, here it is {here.get(name)!r}"
                f"{and_more(len(differing) - 1)}: name another folder, with --out"
            )


def _tabulate(study: Study, planned: Sequence[Planned], out: Path) -> list[Outcome]:
    """What the folder holds now, written to the tables; by one process at a time, so that none puts an older state."""
    try:
        with SoftFileLock(out / ".tables", timeout=60):
            found = outcomes(study, planned, out)
            write_results(found, out)
    except Timeout:
        raise InputError(
            f"{out / '.tables'}: another process has been writing the tables for a minute; if none is, remove it"
        ) from None
    return found


def _mark(study: Study, out: Path) -> Path:
    """The study as it was last run, by which its folder is known again."""
    return out / f"{study.name or 'study'}.toml"


def _is_due(place: Place, retry: bool, began: float) -> bool:
    """Whether a run is still to be done; of one that failed, whether it did so before this process ``began``."""
    if place.done:
        return False
    return not place.failure.exists() or (retry and place.failure.stat().st_mtime < began)


def _attempt(planned: Planned, place: Place, start: Place | None, quiet: bool, tell: Callable[[str], None]) -> None:
    place.failure.unlink(missing_ok=True)
    try:
        config = planned.config
        if start is not None:
            if not start.done:
                raise InputError(f"it begins with {planned.config.init}, which failed: {start.state[1]}")
            config = config.model_copy(update={"init": start.run})
        trained = load(place.run) if finished(place.run) else fit(config, place.run, resume=True, quiet=quiet)
        if place.test is not None and place.tested is not None:
            _test(trained, place.test, place.tested)
        tell(f"  done in {trained.metrics['seconds']:,.0f} s of training")
    except Exception as error:  # whatever it is, the other runs can be done
        with whole(place.failure) as path:
            path.write_text(json.dumps(_failure(error), indent=2) + "\n")
        tell(f"  failed: {_reason(error)}")
    gc.collect()  # what the run held on the device, before the next one asks for it
    torch.cuda.empty_cache()


def _test(trained: Run, test: TestSection, path: Path) -> None:
    """Measure a run on the test images of the study, and write what was found."""
    given = trained.config
    data = given.data if test.preset is None else given.data.model_copy(update={"preset": test.preset, "folder": None})
    training = given.training.model_copy(update={"batch_size": TESTED_AT_ONCE})
    seen = given.model_copy(update={"data": data, "training": training})
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if test.folder is not None:
        images = open_labelled(seen, test.folder)
    else:
        split, count = trained.folder / "split.json", test.count or COUNT
        images = open_test(seen, split, count=count, seed=test.seed, device=device)
    trained.task.to(device)
    found = evaluate(trained, images, name="test", seed=test.seed)
    with whole(path.with_suffix(".safetensors")) as unfinished:
        images = hashlib.sha256("\n".join(found.ids).encode()).hexdigest()
        save_file(found.of_each, unfinished, {"evaluation": type(found).__name__, "images": images})
    facts = {
        "images": len(found),
        "preset": data.preset,
        "test": test.model_dump(mode="json"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "numbers": found.numbers(),
    }
    with whole(path) as unfinished:
        unfinished.write_text(json.dumps(facts, indent=2) + "\n")


def _failure(error: Exception) -> dict[str, str]:
    return {
        "reason": _reason(error),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "traceback": "".join(traceback.format_exception(error)),
    }


def _reason(error: Exception) -> str:
    """What went wrong, in a line."""
    lines = [line.strip() for line in str(error).strip().splitlines()] or [""]
    if isinstance(error, InputError):
        return " ".join(lines)
    exhausted = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return f"{'out of memory' if exhausted else type(error).__name__}: {lines[0]}".rstrip(": ")

"""A run whose scores are known: it was shown smooth lenses, and sees how bright an image is."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from arcformer.batch import LensBatch
from arcformer.data.transforms import Transform, TransformSection
from arcformer.sim.presets import PRESETS
from arcformer.sim.render import simulate
from arcformer.studies import training_images
from arcformer.tasks.anomaly import box_plot, p_values, threshold

PRESET, SIDE = "deeplense/model-2", 32


class Watcher(nn.Module):
    """Scores by ``seen``, with calibration scores of normal images; its map is the image."""

    monitor = ("score", "min")

    def __init__(self, seen: Callable[[LensBatch], Tensor], normal: LensBatch, mapped: bool = True):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        self.seen, self.mapped = seen, mapped
        self.calibration = seen(normal).sort().values

    def predict(self, batch: LensBatch) -> Any:
        score = self.seen(batch)
        sigmas = batch.images[:, 0] if self.mapped else torch.full_like(batch.images[:, 0], torch.nan)
        return SimpleNamespace(score=score, p_value=p_values(score, self.calibration), sigmas=sigmas)

    def threshold(self, false_alarms: float) -> float:
        return threshold(self.calibration, false_alarms)

    @property
    def box_plot(self) -> float:
        return box_plot(self.calibration)


def width(batch: LensBatch) -> Tensor:
    """The mean radius of the light, which substructure moves in this preset."""
    at = torch.arange(SIDE) - (SIDE - 1) / 2
    radius = torch.hypot(at[:, None], at)
    return (batch.images[:, 0] * radius).sum((1, 2)) / batch.images[:, 0].sum((1, 2))


def make_lenses(count: int, *, seed: int = 0, only: tuple[str, ...] = ()) -> LensBatch:
    """Of all classes in turn, or of some; what was drawn is known."""
    return simulate(PRESETS.get(PRESET).of_classes(only), count, seed=seed, names=("test",), pixels=SIDE)


@pytest.fixture
def lenses(monkeypatch: pytest.MonkeyPatch) -> Callable[..., LensBatch]:
    monkeypatch.setenv("ARCFORMER_EAGER", "1")
    return make_lenses


@pytest.fixture
def watching(run: SimpleNamespace, source: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SimpleNamespace]:
    """``watching(seen)``: a run that was trained on smooth lenses alone, its training images at hand."""
    monkeypatch.setenv("ARCFORMER_EAGER", "1")
    training = make_lenses(240, seed=5, only=("no_sub",))
    monkeypatch.setattr(training_images, "open_sources", lambda *_: (source(training), None))

    def made(seen: Callable[[LensBatch], Tensor] = width, **options: Any) -> SimpleNamespace:
        data = SimpleNamespace(preset=PRESET, folder=None, lenses=None, sources=None, simulated=PRESETS.get(PRESET))
        (run.folder / "config.toml").write_text(f'[data]\npreset = "{PRESET}"\nonly = ["no_sub"]\n')
        transform = Transform(TransformSection(scaling="none"))
        task = Watcher(seen, transform(make_lenses(199, seed=6, only=("no_sub",))), **options)
        config = SimpleNamespace(**vars(run.config) | {"data": data})
        changed = {"task": task, "classes": ("no_sub",), "config": config, "transform": transform}
        return SimpleNamespace(**vars(run) | changed)

    return made

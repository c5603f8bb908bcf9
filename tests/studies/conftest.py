"""Rings whose class and radius are known, and runs whose probabilities and posteriors are."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from arcformer.batch import LensBatch
from arcformer.data.transforms import Transform, TransformSection
from arcformer.studies import conduct, training_images

CLASSES = ("no_sub", "cdm", "axion")


def make_rings(count: int, *, seed: int = 0, leak: float = 0.0, side: int = 24) -> LensBatch:
    """Noisy rings of three classes in turn; ``leak`` is by how much the flux grows from class to class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % len(CLASSES)
    at = torch.arange(side) - (side - 1) / 2
    radius = torch.hypot(at[:, None], at[None, :])
    ring = torch.exp(-0.5 * ((radius - side / 4) / 1.5) ** 2)
    flux = 100 * (1 + leak * labels) * (1 + 0.05 * torch.randn(count, generator=generator))
    noise = torch.randn(count, 1, side, side, generator=generator)
    return LensBatch(
        images=flux[:, None, None, None] * ring + noise,
        labels=labels,
        classes=CLASSES,
        pixel_scale=torch.full((count,), 0.1),
        ids=tuple(f"ring-{seed}-{i}" for i in range(count)),
        unit="counts",
    )


class Oracle(nn.Module):
    """Says what ``probabilities`` says for each image, whatever the network in it would."""

    monitor = ("auroc", "max")

    def __init__(self, probabilities: Callable[[LensBatch], Tensor]):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        self.probabilities = probabilities

    def predict(self, batch: LensBatch) -> Any:
        blind = batch.labels is None  # then there is nothing to say, and no oracle is asked
        return SimpleNamespace(probabilities=torch.zeros(len(batch), 3) if blind else self.probabilities(batch))


def guesses(batch: LensBatch, skill: float = 1.5) -> Tensor:
    """Probabilities with some skill; each image's are its own, so that they do not depend on the batch."""
    assert batch.labels is not None
    seeds = [int(name.rpartition("-")[2]) for name in batch.ids]
    noise = torch.stack([torch.randn(3, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    return (skill * nn.functional.one_hot(batch.labels, 3) + noise).softmax(1)


TARGETS = ("theta_E", "log10_flux")


def with_targets(batch: LensBatch, seed: int = 0) -> LensBatch:
    """The batch with two targets: one that no image shows, and one that trivial features do."""
    hidden = torch.randn(len(batch), generator=torch.Generator().manual_seed(seed + 77))
    targets = torch.stack([1 + 0.2 * hidden, batch.images.sum((1, 2, 3)).log10()], dim=1)
    return replace(batch, targets=targets, target_names=TARGETS)


class Measured(nn.Module):
    """Says Gaussian posteriors, ``honest`` times as wide as the exact ones, of what an instrument has measured.

    The error of the instrument is ``sigma`` standard deviations of the prior, which is that of the batches that it was
    shown; of these it knows the truth. The noise of an image is its own.
    """

    monitor = ("nll", "min")
    targets = TARGETS

    def __init__(self, *batches: LensBatch, sigma: float = 0.5, honest: float = 1.0, samples: int = 200):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        self.sigma, self.honest, self.samples = sigma, honest, samples
        self.truth = {name: row for batch in batches for name, row in zip(batch.ids, batch.targets, strict=True)}
        known = torch.stack(list(self.truth.values()))
        self.middle, self.spread = known.mean(0), known.std(0)

    def predict(self, batch: LensBatch) -> Any:
        drawn = [torch.Generator().manual_seed(zlib.crc32(name.encode())) for name in batch.ids]
        truth = (torch.stack([self.truth[name] for name in batch.ids]) - self.middle) / self.spread
        said = truth + self.sigma * torch.stack([torch.randn(2, generator=noise) for noise in drawn])
        mean, width = said / (1 + self.sigma**2), self.honest * self.sigma / (1 + self.sigma**2) ** 0.5
        noise = torch.stack([torch.randn(self.samples, 2, generator=noise) for noise in drawn])
        found = {"mean": mean, "low": mean - width, "high": mean + width}
        found = {name: self.middle + self.spread * value for name, value in found.items()}
        samples = self.middle + self.spread * (mean[:, None] + width * noise)
        return SimpleNamespace(**found, std=width * self.spread.expand(len(batch), -1), samples=samples)

    def posterior(self, batch: LensBatch, samples: int) -> Tensor:
        return self.predict(batch).samples[:, :samples]

    def log_prob(self, prediction: Any, values: Tensor) -> Tensor:
        return torch.distributions.Normal(prediction.mean, prediction.std).log_prob(values).sum(1)


class Batches:
    """A list of batches as a source."""

    def __init__(self, *batches: LensBatch, end: bool = True):
        self.kept, self.end = batches, end
        self.classes = batches[0].classes

    @property
    def batches(self) -> int | None:
        return len(self.kept) if self.end else None

    def batch(self, k: int) -> LensBatch:
        return self.kept[k]


@pytest.fixture
def source() -> type[Batches]:
    return Batches


@pytest.fixture
def measured(run: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[SimpleNamespace, LensBatch]]:
    """``measured(count, ...)``: a run with such posteriors, its training images at hand, and images to test it on."""
    training = with_targets(make_rings(240, seed=5), seed=5)
    monkeypatch.setattr(training_images, "open_sources", lambda *_: (Batches(training[:100], training[100:]), None))

    def made(count: int, **options: Any) -> tuple[SimpleNamespace, LensBatch]:
        batch = with_targets(make_rings(count))
        return SimpleNamespace(**vars(run) | {"task": Measured(batch, **options)}), batch

    return made


@pytest.fixture
def rings() -> Callable[..., LensBatch]:
    return make_rings


@pytest.fixture
def run(tmp_path: Path) -> SimpleNamespace:
    """A finished run as ``load`` gives it, as far as studies look at it."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.toml").write_text('seed = 3\n\n[data]\npreset = "deeplense/model-1"\n')
    (folder / "model.safetensors").write_bytes(b"weights")
    lines = ['{"step": 10, "loss": 1.1}', '{"step": 20, "loss": 0.9}', '{"step": 20, "validation": {"auroc": 0.8}}']
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n")
    config = SimpleNamespace(
        seed=3,
        data=SimpleNamespace(preset="deeplense/model-1", folder=None),
        training=SimpleNamespace(batch_size=64),
        backbone=SimpleNamespace(name="vit"),
    )
    metrics = {"device": "cpu", "seconds": 12.3, "images_seen": 1280, "best_step": 20, "versions": {"torch": "2"}}
    return SimpleNamespace(
        folder=folder,
        config=config,
        task=Oracle(guesses),
        transform=Transform(TransformSection()).fit([make_rings(6)]),
        classes=CLASSES,
        metrics=metrics,
    )


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders of the runs that are trained from here on."""
    folders, fit = [], conduct.fit

    def noted(config, folder, **how):
        folders.append(folder.parent.name.rpartition("-")[0])
        return fit(config, folder, **how)

    monkeypatch.setattr(conduct, "fit", noted)
    return folders

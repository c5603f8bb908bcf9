"""Images like those of training lie inside; each kind of departure is said by name."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from arcformer.batch import LensBatch
from arcformer.data.domain import Domain
from arcformer.data.transforms import Transform, TransformSection
from arcformer.errors import InputError


def rings(count: int, seed: int = 0, *, flux: float = 100.0, sky: float = 5.0, noise: float = 2.0) -> LensBatch:
    generator = torch.Generator().manual_seed(seed)
    at = torch.arange(40) - 19.5
    ring = torch.exp(-((torch.hypot(at[:, None], at[None, :]) - 10) ** 2) / 8)
    brightness = flux * (1 + 0.2 * torch.rand(count, 1, 1, 1, generator=generator))
    images = sky + brightness * ring + noise * torch.randn(count, 1, 40, 40, generator=generator)
    return LensBatch(images, pixel_scale=torch.full((count,), 0.05), unit="counts")


@pytest.fixture(scope="module")
def transform() -> Transform:
    return Transform(TransformSection(size=32)).fit([rings(64)])


@pytest.fixture(scope="module")
def domain(transform: Transform) -> Domain:
    return Domain.fit([rings(64, 1), rings(64, 2)], transform)


def test_images_like_those_of_training_lie_inside(domain: Domain, transform: Transform) -> None:
    fresh = rings(50, 3)
    noted = [domain.departures(fresh[i], transform) for i in range(len(fresh))]
    assert sum(bool(notes) for notes in noted) <= 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"pixel_scale": torch.tensor([0.1])}, "pixel scale 0.1 arcsec, seen was 0.05"),
        ({"unit": "e-/s"}, "unit 'e-/s', seen was 'counts'"),
        ({"images": rings(1, sky=80).images}, "sky level"),
        ({"images": rings(1, noise=20).images}, "sky noise"),
        ({"images": rings(1, flux=5e3).images}, "brightest pixel"),
        ({"images": rings(1, flux=20).images}, "brightest pixel"),
        ({"images": torch.zeros(1, 1, 40, 40)}, "brightest pixel above the sky 0 "),
        ({"images": torch.zeros(1, 1, 40, 40)}, "sky noise 0 "),
        ({"images": 1e-4 * rings(1).images}, "brightest pixel"),
        ({"unit": ""}, "no unit, seen was counts"),
        ({"images": rings(1).images.expand(1, 3, 40, 40)}, "3 channels, seen were images of 1"),
        ({"images": rings(1).images[..., 12:28, 12:28]}, "image 0.8 arcsec wide, seen was 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_departure_is_said(domain: Domain, transform: Transform, changed: dict, said: str) -> None:
    batch = replace(rings(1, 4), **changed)
    assert any(said in note for note in domain.departures(batch, transform))


def test_a_larger_image_is_no_departure_as_it_is_cropped(domain: Domain, transform: Transform) -> None:
    wide = torch.nn.functional.pad(rings(1, 5).images, (30,) * 4, mode="reflect")
    assert not [note for note in domain.departures(replace(rings(1, 5), images=wide), transform) if "wide" in note]


def test_the_unit_does_not_matter_where_images_are_measured_in_their_own_noise() -> None:
    transform = Transform(TransformSection(size=32, scaling="noise")).fit([rings(64)])
    domain = Domain.fit([rings(64)], transform)
    dimmed = rings(1, 6)
    assert domain.departures(replace(dimmed, images=dimmed.images / 1e3, unit="e-/s"), transform) == ()


def test_it_comes_back_from_its_file(domain: Domain, tmp_path) -> None:
    domain.save(tmp_path / "domain.json")
    assert Domain.load(tmp_path / "domain.json") == domain
    (tmp_path / "domain.json").write_text("{}")
    with pytest.raises(InputError, match="holds no domain"):
        Domain.load(tmp_path / "domain.json")

"""Sets that do not grow: a part of one another, made once, in an order that follows from seed and pass."""

from __future__ import annotations

import pytest
import torch

from arcformer.data.fixed import Beginning, Held, chunk_size
from arcformer.data.simulated import SimulatedBatches
from arcformer.data.transforms import Transform, TransformSection
from arcformer.errors import InputError

PLAIN = Transform(TransformSection(scaling="none"))


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCFORMER_EAGER", "1")


def endless() -> SimulatedBatches:
    return SimulatedBatches("deeplense/model-2", batch_size=chunk_size(3), seed=7, split="train", pixels=8)


def held(batch_size: int = 10, seed: int = 0, **which: int) -> Held:
    return Held(Beginning(endless(), **which), PLAIN, batch_size=batch_size, seed=seed)


def test_the_first_images_of_the_stream_are_taken() -> None:
    stream = endless()
    assert stream.batch_size == 63
    images = held(count=70).images
    expected = torch.cat([stream.batch(0).images, stream.batch(1).images[:7]])
    assert torch.equal(images.images, expected)
    assert len(set(images.ids)) == 70


@pytest.mark.parametrize("few", [1, 5, 21, 22, 30])
def test_as_many_of_each_class_as_were_asked_for_and_fewer_are_a_part_of_more(few: int) -> None:
    small, large = held(of_each=few).images, held(of_each=31).images
    assert small.labels is not None
    assert torch.bincount(small.labels, minlength=3).tolist() == [few] * 3
    assert set(small.ids) < set(large.ids)
    assert set(held(of_each=few, count=93).images.ids) == set(small.ids)
    lost = set(large.ids) - set(small.ids)
    for label in range(3):  # the first, not any
        order = [i for i, own in zip(large.ids, large.labels.tolist(), strict=True) if own == label]
        assert not lost & set(order[:few])


def test_every_image_once_a_pass_in_an_order_of_its_own() -> None:
    source = held(count=25, batch_size=10)
    assert source.batches == 3
    passes = [[i for k in range(3) for i in source.batch(3 * e + k).ids] for e in range(3)]
    assert all(sorted(ids) == sorted(source.images.ids) for ids in passes)
    assert passes[0] != passes[1] != passes[2]
    again = held(count=25, batch_size=10)
    assert [again.batch(k).ids for k in (7, 0, 3)] == [source.batch(k).ids for k in (7, 0, 3)]
    assert held(count=25, seed=1).batch(0).ids != source.batch(0).ids
    assert len(source.batch(2)) == 5
    first = source.images.ids.index(passes[1][0])
    assert torch.equal(source.batch(3).images[0], source.images.images[first])


def test_images_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    whole = SimulatedBatches.batch
    monkeypatch.setattr(SimulatedBatches, "batch", lambda self, k: made.append(k) or whole(self, k))
    source = held(count=70)
    for k in range(20):
        source.batch(k)
    assert made == [0, 1]
    assert not source.images.extras
    kept = Held(source.source, PLAIN, batch_size=4, extras=True).images
    assert "theta_E" in kept.extras


def test_a_count_that_holds_too_few_is_refused() -> None:
    with pytest.raises(InputError, match="8 images do not hold 3 of each of 3 classes"):
        Beginning(endless(), count=8, of_each=3)
    with pytest.raises(InputError, match="has a count"):
        Beginning(endless())

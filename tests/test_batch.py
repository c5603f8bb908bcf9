"""The batch that crosses every boundary."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arcformer.batch import LensBatch

PER_IMAGE = ("images", "labels", "targets", "high_res", "psf", "noise_std", "mask", "pixel_scale", "context")


def full(count: int, side: int = 3) -> LensBatch:
    """A batch in which every field is set, and every number tells its image."""
    index = torch.arange(count)
    planes = index.float()[:, None, None, None].expand(count, 2, side, side)
    return LensBatch(
        images=planes,
        labels=index % 3,
        classes=("a", "b", "c"),
        targets=index.float()[:, None],
        target_names=("mass_kg",),
        high_res=planes.repeat_interleave(2, 2).repeat_interleave(2, 3),
        psf=planes[:, 0],
        noise_std=planes + 1,
        mask=planes > 1,
        pixel_scale=index.float(),
        context=index.float()[:, None].expand(count, 3),
        ids=tuple(f"lens-{i}" for i in range(count)),
        unit="counts",
        extras={"clean": planes, "count": index},
    )


def who(batch: LensBatch) -> list[int]:
    """Which images are in it, once everything in it has been found to be of the same images."""
    index = batch.extras["count"]
    assert batch.ids == tuple(f"lens-{i}" for i in index.tolist())
    for name in PER_IMAGE:
        assert len(getattr(batch, name)) == len(batch)
    for values in (batch.images, batch.targets, batch.high_res, batch.psf, batch.pixel_scale, batch.extras["clean"]):
        assert values.flatten(1).eq(index[:, None]).all() if values.ndim > 1 else values.eq(index).all()
    assert batch.labels.equal(index % 3)
    return index.tolist()


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (0, [0]),
        (-1, [4]),
        (slice(1, 4), [1, 2, 3]),
        (slice(None, None, 2), [0, 2, 4]),
        ([3, 0, 3], [3, 0, 3]),
        (torch.tensor([4, 1]), [4, 1]),
        (torch.tensor([True, False, False, True, False]), [0, 3]),
        ([], []),
    ],
)
def test_rows_are_taken_from_everything(rows, expected):
    taken = full(5)[rows]
    assert who(taken) == expected
    assert (taken.classes, taken.target_names, taken.unit) == (("a", "b", "c"), ("mass_kg",), "counts")


def test_an_image_that_is_not_there_is_an_error():
    with pytest.raises(IndexError):
        full(5)[[5]]


@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_parts_collate_to_the_whole(sizes):
    whole = full(sum(sizes))
    ends = torch.tensor([0, *sizes]).cumsum(0).tolist()
    parts = [whole[slice(*pair)] for pair in pairwise(ends)]
    assert who(LensBatch.collate(parts)) == list(range(sum(sizes)))


def test_what_one_lacks_is_left_out():
    first, second = full(2), full(3)
    second = replace(second, mask=None, ids=(), extras={"count": second.extras["count"]})
    together = LensBatch.collate([first, second])
    assert len(together) == 5
    assert together.mask is None
    assert together.ids == ()
    assert together.extras.keys() == {"count"}
    assert together.noise_std.shape == (5, 2, 3, 3)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"classes": ("a", "c", "b")}, "classes"),
        ({"unit": "e-/s"}, "unit"),
        ({"target_names": ("mass_g",)}, "target_names"),
    ],
)
def test_unlike_batches_do_not_collate(change, what):
    with pytest.raises(ValueError, match=f"different {what}"):
        LensBatch.collate([full(2), replace(full(2), **change)])


def test_nothing_does_not_collate():
    with pytest.raises(ValueError, match="no batches"):
        LensBatch.collate([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(2, 3, 3)}, "must be \\(B, C, H, W\\), got \\(2, 3, 3\\)"),
        ({"labels": torch.zeros(3)}, "labels holds \\(3,\\), but there are 2 images"),
        ({"extras": {"clean": torch.zeros(1, 2)}}, "extras.clean holds \\(1, 2\\), but there are 2 images"),
        ({"ids": ("lens-0",)}, "1 ids for 2 images"),
        ({"target_names": ("mass_kg", "age_s")}, "targets \\(2, 1\\) do not match names"),
        ({"noise_std": torch.zeros(2, 1, 3, 3)}, "noise_std \\(2, 1, 3, 3\\) does not match images"),
        ({"mask": torch.zeros(2, 2, 3, 4, dtype=torch.bool)}, "mask \\(2, 2, 3, 4\\) does not match images"),
    ],
)
def test_shapes_that_disagree_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(full(2), **change)


def test_map_reaches_every_tensor_and_changes_none():
    batch = full(3)
    doubled = batch.map(lambda tensor: torch.cat([tensor, tensor])[:3] if tensor.dtype == torch.bool else tensor * 2)
    for name in PER_IMAGE:
        if name != "mask":
            assert getattr(doubled, name).equal(2 * getattr(batch, name)), name
    assert doubled.extras["count"].tolist() == [0, 2, 4]
    assert who(batch) == [0, 1, 2]
    assert doubled.ids == batch.ids


def test_to_moves_every_tensor():
    moved = full(2).to("meta")
    assert all(getattr(moved, name).device.type == "meta" for name in PER_IMAGE)
    assert all(tensor.device.type == "meta" for tensor in moved.extras.values())


def test_a_batch_is_not_changed_in_place():
    with pytest.raises(FrozenInstanceError):
        full(1).unit = "e-/s"

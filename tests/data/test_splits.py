"""Hash splits: stored, repeatable, and not moved by other images."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcformer.data.splits import load_split, save_split, split
from arcformer.errors import InputError

NAMES = st.lists(st.text("abc/0123._", min_size=1), unique=True, max_size=40)


def members(names, parts):
    return {names[row]: part for part, rows in parts.items() for row in rows}


@given(names=NAMES, more=NAMES, seed=st.integers(0, 9), order=st.randoms())
def test_adding_and_reordering_moves_nothing(names, more, seed, order):
    before = members(names, split(names, seed=seed))
    grown = list(dict.fromkeys([*more, *names]))
    order.shuffle(grown)
    after = members(grown, split(grown, seed=seed))
    assert len(after) == len(grown)
    assert before.items() <= after.items()


def test_shares_come_near_the_fractions():
    parts = split([f"cdm/{i}.npy" for i in range(20_000)], seed=0)
    assert {part: round(len(rows) / 20_000, 1) for part, rows in parts.items()} == {
        "train": 0.8,
        "validation": 0.1,
        "test": 0.1,
    }
    other = split([f"cdm/{i}.npy" for i in range(20_000)], seed=1)
    assert len(set(parts["test"]) & set(other["test"])) / 2000 == pytest.approx(0.1, abs=0.03)


def test_what_a_name_hashes_to_never_changes():
    names = ["axion/1.npy", "cdm/2.npy", "no_sub/3.npy"]
    assert split(names, {"a": 0.5, "b": 0.5}, seed=0) == {"a": [0, 2], "b": [1]}


def test_fractions_must_sum_to_one():
    for fractions in ({"train": 0.9}, {"train": 1.2, "test": -0.2}, {}):
        with pytest.raises(InputError, match="sum to 1"):
            split(["a"], fractions, seed=0)
    with pytest.raises(InputError, match="twice"):
        split(["a", "a"], seed=0)


def test_a_stored_split_comes_back_whatever_was_added(tmp_path):
    names = [f"{i}.npy" for i in range(50)]
    parts = split(names, seed=0)
    save_split(tmp_path / "split.json", names, parts)
    save_split(tmp_path / "split.json", names, parts)
    grown = ["new.npy", *names]
    assert members(grown, load_split(tmp_path / "split.json", grown)) == members(names, parts)
    with pytest.raises(InputError, match="holds another split already"):
        save_split(tmp_path / "split.json", names, split(names, seed=1))
    with pytest.raises(InputError, match="1 images of the split are not there"):
        load_split(tmp_path / "split.json", names[1:])
    (tmp_path / "words.json").write_text("hello")
    for name in ("words.json", "missing.json"):
        with pytest.raises(InputError, match="cannot be read as a split"):
            load_split(tmp_path / name, names)

"""A store: the same bytes however it came about, every image as it was simulated, nothing overwritten."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arcformer.batch import LensBatch
from arcformer.config import read
from arcformer.data import store as store_module
from arcformer.data.image import BadFile
from arcformer.data.index import Index, check_store, is_store
from arcformer.data.shards import join_rows, open_shard, write_shard
from arcformer.data.source import BatchSource
from arcformer.data.splits import split
from arcformer.data.store import write_store
from arcformer.data.stored import StoredBatches
from arcformer.errors import InputError
from arcformer.sim.presets import PRESETS
from arcformer.sim.render import simulate
from arcformer.training.recipe import RunConfig
from arcformer.training.sources import open_sources, open_test, split_files

MODEL_1 = "deeplense/model-1"
SMALL = {"count": 22, "seed": 3, "pixels": 8, "shard": 5}


@pytest.fixture(autouse=True)
def _eager(monkeypatch):
    monkeypatch.setenv("ARCFORMER_EAGER", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small store, not to be changed."""
    folder = tmp_path_factory.mktemp("made") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCFORMER_EAGER", "1")
        write_store(MODEL_1, folder, **SMALL)
    return folder


@pytest.fixture
def copy(made, tmp_path):
    """The small store, to be changed at will."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_same(one: LensBatch, other: LensBatch):
    assert (one.ids, one.classes, one.target_names, one.unit) == (
        other.ids, other.classes, other.target_names, other.unit,
    )  # fmt: skip
    tensors, others = one._tensors(), other._tensors()
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, others[name], rtol=0, atol=0, equal_nan=True)


# what is stored


@pytest.mark.parametrize("preset", ["deeplense/model-1", "deeplense/model-2"])
def test_every_image_is_stored_as_it_was_simulated(tmp_path, preset):
    write_store(preset, tmp_path / "store", **SMALL)
    stored = StoredBatches(tmp_path / "store", batch_size=SMALL["shard"])
    assert isinstance(stored, BatchSource)
    assert stored.batches == 5
    assert stored.classes == PRESETS.get(preset).classes
    for k in range(stored.batches):
        images = min(5, 22 - 5 * k)
        assert_same(stored.batch(k), simulate(preset, images, seed=3, names=("store", k), pixels=8))


NUMBERS = st.one_of(
    st.integers(0, 2**16 - 1), st.integers(0, 2**31 - 1), st.integers(-(2**31) + 1, 2**31 - 1), st.floats(width=32)
)


@given(values=st.lists(NUMBERS, min_size=1, max_size=6), unit=st.sampled_from(["counts", "e-/s"]))
def test_numbers_come_back_as_they_were(tmp_path_factory, values, unit):
    images = torch.tensor([float(value) for value in values])[:, None, None, None]
    folder = tmp_path_factory.mktemp("shard")
    shard = write_shard(folder / "a.safetensors", LensBatch(images=images, unit=unit))
    assert shard.fault(folder, read=True) is None
    back = join_rows([(open_shard(folder / "a.safetensors", len(values)), torch.arange(len(values)))], unit=unit)
    torch.testing.assert_close(back.images + 0, images + 0, rtol=0, atol=0, equal_nan=True)


def test_counts_take_two_bytes_and_a_shared_psf_is_stored_once(made):
    tensors = open_shard(made / "shard-00000.safetensors", 5)
    assert tensors["images"].dtype == torch.uint16
    assert len(tensors["psf"]) == 1
    kernels = torch.rand(2, 3, 3)
    batch = LensBatch(images=torch.full((2, 1, 4, 4), 7e4), psf=kernels, unit="counts")
    write_shard(made.parent / "b.safetensors", batch)
    tensors = open_shard(made.parent / "b.safetensors", 2)
    assert tensors["images"].dtype == torch.int32
    assert torch.equal(tensors["psf"], kernels)


def test_one_class_alone(tmp_path):
    write_store(MODEL_1, tmp_path / "cdm", **SMALL, labels="cdm")
    batch = StoredBatches(tmp_path / "cdm", batch_size=22).batch(0)
    assert batch.labels.tolist() == [1] * 22
    assert batch.classes == ("no_sub", "cdm", "axion")


# the same bytes


def test_the_same_bytes_with_one_worker_and_with_two(made, tmp_path):
    seen = []

    def progress(shards, total):
        for shard in shards:
            seen.append((len(shard), total))
            yield shard

    threads = torch.get_num_threads()
    index = write_store(MODEL_1, tmp_path / "two", **SMALL, workers=2, progress=progress)
    assert index == tmp_path / "two" / "index.json"
    assert sorted(seen) == [(2, 5)] + [(5, 5)] * 4
    assert torch.get_num_threads() == threads
    assert content(tmp_path / "two") == content(made)


KILLED = """
import sys, time
from arcformer.data.store import write_store

def stuck(shards, total):
    for number, shard in enumerate(shards, 1):
        if number == 6:
            time.sleep(600)
        yield shard

if __name__ == "__main__":
    write_store("deeplense/model-1", sys.argv[1], count=100, seed=3, pixels=30, shard=5, workers=2, progress=stuck)
"""


def test_a_killed_writer_goes_on_and_leaves_no_process_behind(tmp_path):
    script, folder = tmp_path / "write.py", tmp_path / "killed"
    script.write_text(KILLED)
    process = subprocess.Popen([sys.executable, script, folder])
    journal = folder / "unfinished.jsonl"
    try:
        while not journal.exists() or len(journal.read_text().splitlines()) < 1 + 6:
            assert process.poll() is None, "it has ended before it was killed"
            time.sleep(0.001)
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        orphans = [int(pid) for pid in workers.read_text().split()] if workers.exists() else []
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in orphans):
        assert time.monotonic() < deadline, "workers outlive the process that they work for"
        time.sleep(0.01)
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*")}
    assert 6 <= len(kept) <= 6 + 4, "workers run ahead of what is taken from them"
    with pytest.raises(InputError, match="not finished"):
        StoredBatches(folder, batch_size=5)
    with journal.open("a") as file:
        file.write('{"file": "shard-000')  # as a kill in the middle of a line leaves it
    write_store(MODEL_1, folder, count=100, seed=3, pixels=30, shard=5)
    write_store(MODEL_1, tmp_path / "alone", count=100, seed=3, pixels=30, shard=5)
    assert content(folder) == content(tmp_path / "alone")
    assert sum((folder / name).stat().st_mtime_ns == written for name, written in kept.items()) == 6


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_finished_store_is_left_alone_and_a_damaged_one_mended(made, copy):
    def written():
        return {path.name: path.stat().st_mtime_ns for path in copy.iterdir() if path.suffix == ".safetensors"}

    before = written()
    write_store(MODEL_1, copy, **SMALL)
    assert written() == before
    (copy / "shard-00001.safetensors").unlink()
    damage(copy / "shard-00003.safetensors")
    write_store(MODEL_1, copy, **SMALL)
    assert {name for name, when in written().items() if before[name] != when} == {
        "shard-00001.safetensors",
        "shard-00003.safetensors",
    }
    assert content(copy) == content(made)


def damage(path):
    """Change one byte of the last image."""
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)


# what is refused


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"preset": "deeplense/model-2"}, "preset is 'deeplense/model-1' there and 'deeplense/model-2' here"),
        ({"seed": 4}, "seed is 3 there and 4 here"),
        ({"count": 23}, "count is 22 there and 23 here"),
        ({"pixels": 10}, "pixels is 8 there and 10 here"),
        ({"shard": 6}, "shard_size is 5 there and 6 here"),
        ({"labels": "cdm"}, "only is None there and 'cdm' here"),
    ],
)
def test_another_store_is_not_overwritten(made, other, what):
    before = content(made)
    with pytest.raises(InputError, match=f"nothing is overwritten.*{what}"):
        write_store(**{"preset": MODEL_1, "folder": made} | SMALL | other)
    assert content(made) == before


def test_another_version_or_another_preset_of_that_name_is_another_store(made, monkeypatch):
    changed = replace(PRESETS.get(MODEL_1), geometry=replace(PRESETS.get(MODEL_1).geometry, z_source=2.0))
    with pytest.raises(InputError, match="definition is"):
        write_store(changed, made, **SMALL)
    write_store(replace(PRESETS.get(MODEL_1), summary="in other words"), made, **SMALL)
    monkeypatch.setattr(store_module, "version", lambda _: "99.0")
    with pytest.raises(InputError, match=r"arcformer is '.*' there and '99\.0' here"):
        write_store(MODEL_1, made, **SMALL)


def test_other_files_are_not_overwritten(tmp_path):
    (tmp_path / "thesis.tex").write_text("words")
    for folder, what in ((tmp_path, "not empty"), (tmp_path / "thesis.tex", "is a file")):
        with pytest.raises(InputError, match=what):
            write_store(MODEL_1, folder, **SMALL)
    assert content(tmp_path) == {"thesis.tex": b"words"}


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"preset": "deeplense/modle-1"}, "did you mean 'deeplense/model-1'"),
        ({"labels": "cmd"}, "did you mean 'cdm'"),
        ({"count": 0}, "count is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"shard": -1}, "shard is -1"),
        ({"pixels": 151}, "151 central pixels"),
    ],
)
def test_what_cannot_be_simulated_is_said_before_anything_is_written(tmp_path, wrong, what):
    with pytest.raises(InputError, match=what):
        write_store(**{"preset": MODEL_1, "folder": tmp_path / "new"} | SMALL | wrong)
    assert not (tmp_path / "new").exists()


def test_a_folder_is_written_by_one_process_at_a_time(copy):
    fcntl = pytest.importorskip("fcntl")
    handle = os.open(copy, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(InputError, match="another process is writing"):
        write_store(MODEL_1, copy, **SMALL)
    os.close(handle)
    write_store(MODEL_1, copy, **SMALL)


# no space


def test_too_small_a_disk_is_said_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12 - 10**9, 10**9))
    with pytest.raises(InputError, match=r"1000000 images of deeplense/model-1 take about \d+\.\d GB, but 1\.0 GB"):
        write_store(MODEL_1, tmp_path / "a" / "b", count=10**6)
    assert not (tmp_path / "a").exists()
    write_store(MODEL_1, tmp_path / "a" / "b", **SMALL)


def test_a_disk_that_fills_up_is_one_line_and_no_loss(made, tmp_path, monkeypatch):
    write_bytes, calls = Path.write_bytes, []

    def full(path, data):
        calls.append(path)
        if len(calls) == 3:
            write_bytes(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write_bytes(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(InputError, match="no space is left"):
            write_store(MODEL_1, tmp_path / "store", **SMALL)
    assert sorted(content(tmp_path / "store")) == [
        "shard-00000.safetensors", "shard-00001.safetensors", "unfinished.jsonl",
    ]  # fmt: skip
    write_store(MODEL_1, tmp_path / "store", **SMALL)
    assert content(tmp_path / "store") == content(made)


# reading


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.integers(0, 21), min_size=1, unique=True),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 3),
    shuffle=st.booleans(),
    extras=st.booleans(),
)
def test_a_pass_takes_every_row_once(made, rows, batch_size, seed, shuffle, extras):
    options = {"batch_size": batch_size, "rows": rows, "seed": seed, "shuffle": shuffle, "extras": extras}
    stored, everything = StoredBatches(made, **options), StoredBatches(made, batch_size=22, extras=extras).batch(0)
    for epoch in range(2):
        passed = [stored.batch(epoch * stored.batches + k) for k in range(stored.batches)]
        assert [len(batch) for batch in passed[:-1]] == [batch_size] * (len(passed) - 1)
        ids = [name for batch in passed for name in batch.ids]
        assert sorted(ids) == sorted(stored.names)
        assert shuffle or ids == list(stored.names)
        for batch in passed:
            assert_same(batch, everything[[everything.ids.index(name) for name in batch.ids]])
    again = StoredBatches(made, **options)
    assert_same(again.batch(stored.batches), stored.batch(stored.batches))


def test_the_order_changes_with_the_pass_and_the_seed(made):
    def order(seed, k):
        return StoredBatches(made, batch_size=22, seed=seed, shuffle=True).batch(k).ids

    assert len({order(0, 0), order(0, 1), order(1, 0)}) == 3


def test_a_worker_process_reads_the_same(made):
    stored = StoredBatches(made, batch_size=7, shuffle=True)
    before = stored.batch(2)
    assert_same(pickle.loads(pickle.dumps(stored)).batch(2), before)


def test_rows_and_sizes_that_cannot_be(made):
    for options, what in (
        ({"rows": []}, "no image is left"),
        ({"rows": [22]}, "rows beyond the 0 to 21"),
        ({"rows": [-1]}, "rows beyond"),
        ({"batch_size": 0}, "batch_size is 0"),
    ):
        with pytest.raises(InputError, match=what):
            StoredBatches(made, **{"batch_size": 4} | options)


def test_a_missing_or_damaged_shard_is_named(copy):
    shard = copy / "shard-00002.safetensors"
    whole = shard.read_bytes()
    damage(shard)
    StoredBatches(copy, batch_size=4)
    with pytest.raises(BadFile, match=r"shard-00002\.safetensors: damaged, its content"):
        check_store(copy)
    shard.write_bytes(bytes(len(whole)))
    with pytest.raises(BadFile, match=r"shard-00002\.safetensors: missing or damaged"):
        StoredBatches(copy, batch_size=22).batch(0)
    shard.write_bytes(whole[:-1])
    with pytest.raises(BadFile, match=r"shard-00002\.safetensors: damaged, it has \d+ bytes"):
        StoredBatches(copy, batch_size=4)
    shard.unlink()
    (copy / "shard-00004.safetensors").unlink()
    with pytest.raises(BadFile, match=r"shard-00002\.safetensors: missing \(and 1 more shards\)"):
        StoredBatches(copy, batch_size=4)


def test_a_damaged_index_is_named(copy, tmp_path):
    index = json.loads((copy / "index.json").read_text())
    fewer = index | {"shards": index["shards"][1:]}
    for text in ("hello", "[]", "{}", json.dumps(fewer), json.dumps(index | {"count": "many"})):
        (copy / "index.json").write_text(text)
        with pytest.raises(BadFile, match=r"index\.json: damaged"):
            StoredBatches(copy, batch_size=4)
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert not is_store(folder)
        with pytest.raises(InputError, match="no store"):
            StoredBatches(folder, batch_size=4)


# training


def test_ids_are_the_simulators_and_make_a_split(made):
    names = Index.load(made).names
    batch = StoredBatches(made, batch_size=22).batch(0)
    assert batch.ids == names
    assert names[7] == "deeplense/model-1/3/store/1/2"
    assert sorted(row for rows in split(names, seed=0).values() for row in rows) == list(range(22))


def test_a_run_trains_on_a_store(tmp_path):
    write_store(MODEL_1, tmp_path / "store", **SMALL | {"count": 60})
    config = read(RunConfig, None, [f'data.folder="{tmp_path / "store"}"', "training.batch_size=8"])
    assert split_files(config, tmp_path / "split.json") == ()
    train, validation = open_sources(config, tmp_path / "split.json")
    test = open_test(config, tmp_path / "split.json", count=1, seed=0)
    parts = [{i for k in range(source.batches) for i in source.batch(k).ids} for source in (train, validation, test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 60
    assert train.batch(0).ids != train.batch(train.batches).ids
    assert train.classes == ("no_sub", "cdm", "axion")
    assert train.batch(0).unit == "counts"
    damage(tmp_path / "store" / "shard-00002.safetensors")
    with pytest.raises(BadFile, match="shard-00002"):
        split_files(config, tmp_path / "other.json")
    other = read(RunConfig, None, [f'data.folder="{tmp_path / "store"}"', "data.preset=deeplense/model-2"])
    with pytest.raises(InputError, match=r"holds images of deeplense/model-1, and data\.preset is deeplense/model-2"):
        open_sources(other, tmp_path / "split.json")

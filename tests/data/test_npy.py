"""Object arrays come back as numpy gives them, and nothing in a file is ever run."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.lib import format as npy_format

from arcformer.data.image import BadFile
from arcformer.data.npy import read_npy
from arcformer.errors import InputError

KINDS = ("<f4", ">f8", "<i8", "|u1", "|b1", "<u2", "<f2")


def object_array(*parts: object) -> np.ndarray:
    array = np.empty(len(parts), dtype=object)
    for i, part in enumerate(parts):
        array[i] = part
    return array


def save_pickle(path: Path, data: bytes, shape: str = "(2,)") -> Path:
    """A .npy file with an object array's header and whatever pickle."""
    header = f"{{'descr': '|O', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data)
    return path


class Exploit:
    """Unpickled by numpy, it makes a file."""

    def __init__(self, function: object, *arguments: object):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@settings(max_examples=40, deadline=None)
@given(data=st.data(), kind=st.sampled_from(KINDS), fortran=st.booleans(), protocol=st.sampled_from([2, 3, 4]))
def test_object_arrays_come_back_as_numpy_wrote_them(tmp_path_factory, data, kind, fortran, protocol):
    image = data.draw(hnp.arrays(np.dtype(kind), hnp.array_shapes(min_dims=2, max_dims=3, max_side=5)))
    image = np.asfortranarray(image) if fortran else image
    parts = object_array(image, np.float64(3e-23))
    path = save_pickle(tmp_path_factory.mktemp("npy") / "a.npy", pickle.dumps(parts, protocol=protocol))
    found = read_npy(path)
    assert found.dtype == object
    np.testing.assert_array_equal(found[0], image)
    assert found[0].dtype == image.dtype
    assert found[1] == 3e-23


@settings(max_examples=30, deadline=None)
@given(array=hnp.arrays(st.sampled_from(KINDS).map(np.dtype), hnp.array_shapes(max_side=5)))
def test_plain_arrays_come_back(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("npy") / "a.npy"
    np.save(path, array)
    np.testing.assert_array_equal(read_npy(path), array)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("function", [os.system, eval, exec, os.makedirs, np.load, getattr])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, function, protocol):
    target = tmp_path / "ran"
    argument = f"touch {target}" if function is os.system else f"open({str(target)!r}, 'w').close()"
    exploit = Exploit(function, str(target) if function is os.makedirs else argument)
    path = save_pickle(tmp_path / "evil.npy", pickle.dumps(object_array(exploit, 1.0), protocol=protocol))
    with pytest.raises(InputError, match=r"evil\.npy: refused, its pickle asks for") as refused:
        read_npy(path)
    assert function.__name__ in str(refused.value)
    assert not target.exists()


def test_the_exploit_of_the_last_test_is_real(tmp_path):
    target = tmp_path / "ran"
    path = tmp_path / "evil.npy"
    np.save(path, object_array(np.ones((3, 3)), Exploit(os.makedirs, str(target))), allow_pickle=True)
    np.load(path, allow_pickle=True)
    assert target.exists()


def test_a_forged_dtype_cannot_pass_bytes_for_objects(tmp_path):
    """An object dtype whose flags are forged makes numpy's own reconstruction follow 8 chosen bytes as a pointer."""
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, protocol=2)
    make, arguments, _ = np.zeros(1).__reduce__()
    pickler.dispatch_table = {np.ndarray: lambda _: (make, arguments, (1, (1,), Forged(), False, b"A" * 8))}
    pickler.dump(np.zeros(1))
    with pytest.raises(BadFile, match="type object"):
        read_npy(save_pickle(tmp_path / "forged.npy", stream.getvalue()))


class Forged:
    """Pickles as an object dtype that claims to hold no objects."""

    def __reduce__(self):
        return np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0)


def test_a_pickle_cannot_reach_beyond_the_names_it_is_given(tmp_path):
    for name in (b"cnumpy\nndarray.__class__\n", b"cnumpy\nload\n", b"cbuiltins\ngetattr\n", b"cnumpy\n__builtins__\n"):
        with pytest.raises(BadFile, match="refused"):
            read_npy(save_pickle(tmp_path / "a.npy", b"\x80\x02" + name + b"."))
    for data in (b"\x80\x02cnumpy\nndarray\n)R.", b"\x80\x02K\x01.", b"\x80\x02]."):
        with pytest.raises(BadFile, match=r"a\.npy"):
            read_npy(save_pickle(tmp_path / "a.npy", data))


def test_files_that_are_no_arrays_say_why(tmp_path, picture):
    np.save(tmp_path / "plain.npy", picture)
    np.save(tmp_path / "object.npy", object_array(picture, 1e-23), allow_pickle=True)
    np.save(tmp_path / "text.npy", np.array(["a", "b"]))
    np.save(tmp_path / "fields.npy", np.zeros(3, dtype=[("a", "f4"), ("b", "O")]), allow_pickle=True)
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "words.npy").write_text("not an image")
    for name in ("plain", "object"):
        whole = (tmp_path / f"{name}.npy").read_bytes()
        (tmp_path / f"short_{name}.npy").write_bytes(whole[:-100])
        (tmp_path / f"stub_{name}.npy").write_bytes(whole[:40])
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }".ljust(117) + b"\n"
    (tmp_path / "huge.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    reasons = {
        "empty": "empty",
        "words": "not a .npy file",
        "short_plain": "truncated",
        "short_object": "truncated",
        "stub_plain": "header",
        "stub_object": "header",
        "text": "not numbers",
        "fields": "not numbers",
        "huge": "truncated",
    }
    for name, reason in reasons.items():
        with pytest.raises(BadFile, match=rf"{name}\.npy: .*{reason}"):
            read_npy(tmp_path / f"{name}.npy")


def test_reference_made_files(samples):
    for folder in sorted((samples / "deeplense").glob("Model_*/axion")):
        image, mass = read_npy(min(folder.iterdir()))
        assert image.ndim == 2
        assert 1e-24 <= mass <= 1e-22


@pytest.mark.parametrize("shape", [(-1, -1), (-3, -5)])
def test_a_forged_shape_is_a_bad_file(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = tmp_path / "forged.npy"
    with path.open("wb") as file:
        npy_format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
        file.write(bytes(8))
    with pytest.raises(BadFile, match="announces the shape"):
        read_npy(path)

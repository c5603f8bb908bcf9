"""Arrays from .npy files that nobody vouches for: no code in them is ever run.

An object array in a .npy file is a pickle, and a pickle is a program. ``numpy.load(..., allow_pickle=True)`` runs it.
Here each of the few names that numpy writes into such a pickle stands for a method of ours that takes plain data and
checks it; any other name is refused. Not even numpy's own constructors are given to the pickle: a forged dtype could
make them take bytes for addresses.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from arcformer.data.image import BadFile

__all__ = ["read_npy"]


def read_npy(path: str | Path) -> NDArray[Any]:
    """The array in a .npy file; of an object array, an array of the arrays and numbers that it holds.

    Raises:
        BadFile: the file is empty, truncated, not a .npy file, of a type without numbers, or holds a pickle with
            anything but numpy's arrays and numbers, which is then not run.
    """
    path = Path(path)
    with path.open("rb") as file:
        shape, dtype = _header(path, file)
        if dtype.kind == "O":
            return _read_objects(path, file)
        if dtype.kind not in "biuf":
            raise BadFile(f"{path}: its values are of type {dtype}, not numbers")
        expected, found = math.prod(shape) * dtype.itemsize, path.stat().st_size - file.tell()
        if found < expected:  # asked first: numpy would make room for whatever a header claims
            raise BadFile(f"{path}: truncated, {found} bytes of data where its header announces {expected}")
        file.seek(0)
        return np.load(file, allow_pickle=False)


def _header(path: Path, file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    start = file.read(len(npy_format.MAGIC_PREFIX))
    if not start:
        raise BadFile(f"{path}: empty, 0 bytes")
    if start != npy_format.MAGIC_PREFIX:
        raise BadFile(f"{path}: not a .npy file, it begins with {start!r}")
    file.seek(0)
    try:
        version = npy_format.read_magic(file)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, _, dtype = read(file)
    except Exception as error:  # whatever parsing a stranger's file brings up, the file is what is wrong
        raise BadFile(f"{path}: its .npy header cannot be read ({_line(error)})") from None
    if min(shape, default=0) < 0:
        raise BadFile(f"{path}: its .npy header announces the shape {shape}")
    return shape, dtype


def _read_objects(path: Path, file: IO[bytes]) -> NDArray[Any]:
    try:
        loaded = _ArrayUnpickler(file, path).load()
    except BadFile:
        raise
    except Exception as error:  # as above; a truncated pickle is an EOFError or an UnpicklingError
        raise BadFile(f"{path}: truncated or corrupt, its object array cannot be read ({_line(error)})") from None
    if not isinstance(loaded, _Array):
        raise BadFile(f"{path}: it holds a pickled {type(loaded).__name__}, not an array")
    return loaded.value


class _ArrayUnpickler(pickle.Unpickler):
    """Reads pickles of numpy arrays and numbers, and refuses all others before anything in them is called.

    The names are answered with bound methods, so that a pickle can call them but never gets hold of a class.
    """

    def __init__(self, file: IO[bytes], path: Path):
        super().__init__(file)
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Callable[..., Any] | str] = {
            ("numpy", "ndarray"): "numpy.ndarray",  # only ever passed on to _reconstruct, so its name is enough
            ("numpy", "dtype"): self._dtype,
            ("_codecs", "encode"): self._encode,
        }
        for core in ("numpy.core.multiarray", "numpy._core.multiarray"):
            known |= {(core, "_reconstruct"): self._reconstruct, (core, "scalar"): self._scalar}
        try:
            return known[module, name]
        except KeyError:
            raise BadFile(
                f"{self.path}: refused, its pickle asks for {module}.{name} and would run it; "
                "only numpy arrays and numbers are read. Nothing was run; do not load this file with other programs"
            ) from None

    def _dtype(self, code: str, *_: object) -> _Dtype:
        return _Dtype(code)

    def _reconstruct(self, *_: object) -> _Array:
        return _Array()

    def _scalar(self, dtype: _Dtype, data: bytes) -> Any:
        return np.frombuffer(data, dtype.value, count=1)[0]

    def _encode(self, text: str, _: object) -> bytes:
        return text.encode("latin1")


class _Dtype:
    """Stands for a dtype in a pickle: kind, width and byte order; whatever else the pickle says of it is dropped."""

    __slots__ = ("code", "order")

    def __init__(self, code: str):
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    @property
    def value(self) -> np.dtype[Any]:
        dtype = np.dtype(self.order + self.code.strip())
        if dtype.kind not in "biuf":
            raise pickle.UnpicklingError(f"an array of type {dtype}")
        return dtype


class _Array:
    """Stands for an array in a pickle until its state has been read; then ``value`` is the array."""

    __slots__ = ("value",)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        if isinstance(data, list):
            flat = np.empty(len(data), dtype=object)
            for i, item in enumerate(data):
                flat[i] = item.value if isinstance(item, _Array) else item
        else:
            flat = np.frombuffer(data, dtype.value)
        self.value: NDArray[Any] = flat.reshape(shape, order="F" if fortran else "C")


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0].strip() or type(error).__name__

"""Read pickles of body models and data sets without executing code from them.

A pickle is a program that can call any function by name. This reader accepts numpy arrays, dtypes and scalars, scipy
sparse matrices and chumpy arrays. For each it has a stand-in class that only keeps the data. Any other name is refused.
Neither chumpy nor the versions of numpy, scipy or Python that wrote the file are needed.
"""

import io
import math
import os
import pickle
from pathlib import Path
from typing import ClassVar

import numpy as np
import scipy.sparse

from utils.errors import UserError


def load_restricted_pickle(path: str | Path, what: str = "a body model"):
    """The pickle at `path` as dicts, lists, numbers, strings, numpy arrays and scipy.sparse matrices.

    what: what it holds, for messages. chumpy arrays become numpy arrays; strings of Python 2 are decoded as latin-1.
    UserError if the file is missing or damaged, or contains anything else.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _load(file, os.fstat(file.fileno()).st_size, str(path), what)
    except OSError as error:
        raise UserError(f"cannot open {path}: {error.strerror}; check the path") from None


def loads_restricted_pickle(data: bytes, where: str, what: str):
    """As `load_restricted_pickle`, for a pickle in memory that comes from `where`."""
    return _load(io.BytesIO(data), len(data), where, what)


def _load(file, size: int, where: str, what: str):
    try:
        return _resolve(_Unpickler(_Bounded(file, size), encoding="latin1").load(), {})
    except _Refused as error:
        raise UserError(f"{where} is refused: {error}; use the original file of {what}") from None
    except OSError:
        raise
    except Exception as error:  # damaged pickles raise many kinds of errors
        reason = str(error) or type(error).__name__
        raise UserError(f"{where} is damaged or not a pickle of {what} ({reason}); download it again") from None


class _Refused(Exception):
    """The file contains more than plain data."""


class _Bounded:
    """A file that refuses reads past its end, so that a false length cannot allocate gigabytes."""

    def __init__(self, file, size: int):
        self.file, self.left = file, size

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.left:
            raise EOFError("it ends before its data does")
        self.left -= size
        return self.file.read(size)

    def readline(self) -> bytes:
        line = self.file.readline()
        self.left -= len(line)
        return line


class _Dtype:
    """numpy.dtype: one plain number or string type."""

    def __init__(self, code, *_):
        self.dtype = np.dtype(code if isinstance(code, str) else "O")
        if self.dtype.kind not in "biufcSU":
            raise _Refused(f"it contains values of type {code!r}")

    def __setstate__(self, state):
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """numpy.ndarray from raw bytes."""

    def __new__(cls, *_):
        return object.__new__(cls)

    def __setstate__(self, state):
        _, shape, dtype, fortran, data = state
        self.value = _array(data, dtype, shape, "F" if fortran else "C")

    def resolve(self, _):
        return self.value


def _array(data, dtype, shape, order="C") -> np.ndarray:
    if not isinstance(dtype, _Dtype) or not isinstance(data, str | bytes | bytearray):
        raise _Refused("it contains an array of Python objects")
    shape = tuple(int(n) for n in shape)
    data = data.encode("latin1") if isinstance(data, str) else data
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} does not fit its {len(data)} bytes")
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order)


def _from_buffer(data, dtype, shape, order):
    """numpy._core.numeric._frombuffer: arrays in pickle protocol 5."""
    array = _Array()
    array.value = _array(data, dtype, shape, "F" if order == "F" else "C")
    return array


def _scalar(dtype, data):
    """numpy.core.multiarray.scalar."""
    return _array(data, dtype, ())[()]


def _encode(text, encoding):
    """_codecs.encode: bytes in protocols below 3."""
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"it encodes text as {encoding!r}")
    return text.encode("latin1")


def _bytes(data=b"", encoding="latin1"):
    """bytes and bytearray from their content; a number is refused, as it would allocate that many bytes."""
    if not isinstance(data, str | bytes):
        raise _Refused("it declares bytes without content")
    return _encode(data, encoding) if isinstance(data, str) else data


class _Attributes:
    """Base of stand-ins for instances: keeps their attributes."""

    def __new__(cls, *_):
        return object.__new__(cls)

    def __setstate__(self, state):
        self.state = dict(state)


class _Sparse(_Attributes):
    """A scipy.sparse matrix: compressed rows, compressed columns or coordinates."""

    def resolve(self, memo):
        state = _resolve(self.state, memo)
        shape = tuple(state["_shape"] if "_shape" in state else state["shape"])
        if self.format == "coo":
            row, col = state["coords"] if "coords" in state else (state["row"], state["col"])
            return scipy.sparse.coo_matrix((state["data"], (row, col)), shape=shape)
        matrix = {"csc": scipy.sparse.csc_matrix, "csr": scipy.sparse.csr_matrix}[self.format](
            (state["data"], state["indices"], state["indptr"]), shape=shape
        )
        matrix.check_format(full_check=True)
        return matrix


class _Csc(_Sparse):
    format = "csc"


class _Csr(_Sparse):
    format = "csr"


class _Coo(_Sparse):
    format = "coo"


class _Chumpy(_Attributes):
    """chumpy.ch.Ch: an array `x` with data for derivatives, which is dropped."""

    def resolve(self, memo):
        return _resolve(self.state["x"], memo)


class _ChumpySelect(_Attributes):
    """chumpy.reordering.Select: entries `idxs` of another array."""

    def resolve(self, memo):
        values = np.ravel(_resolve(self.state["a"], memo))[_resolve(self.state["idxs"], memo)]
        return values.reshape(_resolve(self.state.get("preferred_shape", values.shape), memo))


class _Object:
    """object: base class named by old protocols for instances."""


def _reconstructor(cls, base, state):
    """copyreg._reconstructor: instances in protocols 0 and 1."""
    if cls not in (_Chumpy, _ChumpySelect, _Csc, _Csr, _Coo) or base is not _Object or state is not None:
        raise _Refused("it contains an object that it does not need")
    return cls()


def _set(items=()):
    """set, only in data that is dropped; a list is enough."""
    return list(items)


_KNOWN = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    ("chumpy.ch", "Ch"): _Chumpy,
    ("chumpy", "Ch"): _Chumpy,
    ("chumpy.reordering", "Select"): _ChumpySelect,
    **{
        (f"scipy.sparse.{module}{name}", f"{name}_{kind}"): standin
        for name, standin in (("csc", _Csc), ("csr", _Csr), ("coo", _Coo))
        for module in ("", "_")
        for kind in ("matrix", "array")
    },
    **{(module, "_reconstructor"): _reconstructor for module in ("copyreg", "copy_reg")},
    **{(module, "object"): _Object for module in ("builtins", "__builtin__")},
    **{(module, "set"): _set for module in ("builtins", "__builtin__")},
    **{(module, name): _bytes for module in ("builtins", "__builtin__") for name in ("bytes", "bytearray")},
}
_BUILDABLE = (_Dtype, _Array, _Attributes)


class _Unpickler(pickle._Unpickler):
    """Python's unpickler in Python: its memo is a dict. That of the C version could be made to allocate gigabytes."""

    dispatch: ClassVar = dict(pickle._Unpickler.dispatch)

    def find_class(self, module, name):
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise _Refused(f"it calls {module}.{name}, which it does not need") from None

    def get_extension(self, code):
        raise _Refused(f"it uses the extension code {code}")

    def load_build(self):
        # on other objects, BUILD would set any attributes that the file names
        if not isinstance(self.stack[-2], _BUILDABLE):
            raise _Refused(f"it changes a {type(self.stack[-2]).__name__}")
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build


def _resolve(value, memo: dict):
    """Replace stand-ins inside dicts, lists and tuples by their arrays and matrices."""
    if isinstance(value, dict | list | tuple | _Array | _Attributes):
        if id(value) not in memo:
            memo[id(value)] = None  # ends recursion in a cyclic structure
            memo[id(value)] = _resolved(value, memo)
        return memo[id(value)]
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | bytearray | np.generic):
        return value
    raise _Refused(f"it contains a {type(value).__name__}")


def _resolved(value, memo: dict):
    if isinstance(value, dict):
        return {key: _resolve(item, memo) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, memo) for item in value]
    if isinstance(value, tuple):
        return tuple(_resolve(item, memo) for item in value)
    return value.resolve(memo)

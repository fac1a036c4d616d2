"""The reader of body-model pickles: what it must read, what it must refuse, how it fails."""

import io
import os
import pickle
import struct
import subprocess
import sys
import types

import numpy as np
import pytest
import scipy.sparse

from utils.errors import UserError
from utils.safe_load.unpickler import load_restricted_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def write(tmp_path, data: bytes):
    path = tmp_path / "body.pkl"
    path.write_bytes(data)
    return path


def read(tmp_path, value, protocol=2):
    return load_restricted_pickle(write(tmp_path, pickle.dumps(value, protocol)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["f8", "f4", ">f8", "u4", "i8", "bool", "S5", "U3"])
def test_reads_numpy_arrays_of_every_protocol(tmp_path, protocol, dtype):
    for array in (
        np.arange(12).reshape(3, 4).astype(dtype),
        np.asfortranarray(np.arange(6).reshape(2, 3)).astype(dtype),
    ):
        got = read(tmp_path, {"a": array}, protocol)["a"]
        assert got.dtype == array.dtype
        np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_reads_plain_values_scalars_and_nesting(tmp_path, protocol):
    value = {"name": "lrotmin", "list": [1, 2.5, None, True, (3, "x")], "scalar": np.float32(1.5), "bytes": b"\xff\x00"}
    got = read(tmp_path, value, protocol)
    assert got == value
    assert isinstance(got["scalar"], np.float32)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("form", ["csc_matrix", "csr_matrix", "coo_matrix", "csc_array"])
def test_reads_sparse_matrices(tmp_path, protocol, form):
    dense = np.random.default_rng(0).random((4, 7)) * (np.random.default_rng(1).random((4, 7)) > 0.6)
    got = read(tmp_path, getattr(scipy.sparse, form)(dense), protocol)
    np.testing.assert_allclose(got.toarray(), dense)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_reads_empty_arrays_and_bytes(tmp_path, protocol):
    got = read(tmp_path, {"a": np.zeros((0, 3)), "b": b"", "c": bytearray(b"xy")}, protocol)
    assert got["a"].shape == (0, 3)
    assert (got["b"], got["c"]) == (b"", b"xy")


def test_one_array_used_twice_stays_one(tmp_path):
    array = np.arange(5.0)
    got = read(tmp_path, {"a": array, "b": [array]})
    assert got["a"] is got["b"][0]


def test_reads_what_python_2_wrote(tmp_path):
    # cPickle protocol 2 of {'w': numpy.array([1., 2.]), 'm': csc_matrix} as numpy 1.8 and scipy 0.13 named things: raw
    # bytes are 8-bit strings, modules carry their old names, the sparse matrix keeps its state in a dict.
    def string(data: bytes) -> bytes:
        return b"T" + struct.pack("<I", len(data)) + data

    def array(values: np.ndarray) -> bytes:
        code = values.dtype.str[1:].encode()
        return (
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + string(b"b") + b"\x87R(K\x01K"
            + bytes([len(values)]) + b"\x85cnumpy\ndtype\n" + string(code) + b"K\x00K\x01\x87R(K\x03" + string(b"<")
            + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + string(values.tobytes()) + b"tb"
        )  # fmt: skip

    sparse = (
        b"ccopy_reg\n_reconstructor\ncscipy.sparse.csc\ncsc_matrix\nc__builtin__\nobject\nN\x87R}("
        + string(b"_shape") + b"K\x02K\x03\x86" + string(b"data") + array(np.array([5.0, 7.0]))
        + string(b"indices") + array(np.array([1, 0], "i4")) + string(b"indptr") + array(np.array([0, 1, 1, 2], "i4"))
        + string(b"maxprint") + b"K\x32ub"
    )  # fmt: skip
    data = b"\x80\x02}(" + string(b"w") + array(np.array([1.0, 200.5])) + string(b"m") + sparse + b"u."
    got = load_restricted_pickle(write(tmp_path, data))
    np.testing.assert_array_equal(got["w"], [1.0, 200.5])
    np.testing.assert_array_equal(got["m"].toarray(), [[0, 0, 7], [5, 0, 0]])


@pytest.fixture
def fake_chumpy(monkeypatch):
    """Classes that pickle as chumpy's do: by their name and their attributes."""
    package, ch, reordering = (types.ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering"))
    ch.Ch = type("Ch", (), {"__module__": "chumpy.ch"})
    reordering.Select = type("Select", (ch.Ch,), {"__module__": "chumpy.reordering"})
    for module in (package, ch, reordering):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return ch.Ch, reordering.Select


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_chumpy_arrays_become_numpy_arrays(tmp_path, fake_chumpy, protocol):
    make, select = fake_chumpy
    array = make()
    array.__dict__.update(x=np.arange(6.0).reshape(2, 3), _dirty_vars={"x"}, _itr=None, _depends_on_deps={})
    part = select()
    part.__dict__.update(a=array, idxs=np.array([0, 1, 3, 4]), preferred_shape=(2, 2), _dirty_vars=set())
    path = write(tmp_path, pickle.dumps({"array": array, "part": part}, protocol))
    for name in ("chumpy", "chumpy.ch", "chumpy.reordering"):
        del sys.modules[name]
    got = load_restricted_pickle(path)
    np.testing.assert_array_equal(got["array"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(got["part"], [[0, 1], [3, 4]])


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_agrees_with_chumpy_itself(tmp_path, protocol):
    pytest.importorskip("chumpy", reason="chumpy is not installed; the fork chumpy-fixed works with numpy 2")
    script = (
        "import chumpy, numpy, pickle, sys; a = chumpy.array(numpy.arange(24.).reshape(4, 6)); "
        f"pickle.dump({{'a': a, 'part': a[1:3, ::2]}}, open(sys.argv[1], 'wb'), {protocol})"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "ch.pkl")], check=True)
    got = load_restricted_pickle(tmp_path / "ch.pkl")
    want = np.arange(24.0).reshape(4, 6)
    np.testing.assert_array_equal(got["a"], want)
    np.testing.assert_array_equal(got["part"], want[1:3, ::2])


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


HOSTILE = {
    "posix.system": Call(os.system, "touch {marker}"),
    "builtins.eval": Call(eval, "open({marker!r}, 'w')"),
    "builtins.exec": Call(exec, "open({marker!r}, 'w')"),
    "builtins.getattr": Call(getattr, os, "system"),
    "builtins.open": Call(open, "{marker}", "w"),
    "subprocess.Popen": Call(subprocess.Popen, ["touch", "{marker}"]),
    "numpy.load": Call(np.load, "{marker}"),
    "numpy.fromfile": Call(np.fromfile, "{marker}"),
    "importlib.import_module": Call(__import__("importlib").import_module, "os"),
    "scipy.sparse.load_npz": None,
    "numpy.core.multiarray.frombuffer": None,
}


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", HOSTILE)
def test_refuses_every_other_call_by_name(tmp_path, name, protocol):
    marker = tmp_path / "ran"
    call = HOSTILE[name]
    if call is None:
        module, function = name.rsplit(".", 1)
        data = f"c{module}\n{function}\n(tR.".encode()
        expected = name
    else:
        function, args = call.call
        if function is getattr:  # a module cannot be pickled; its name can
            args = ("os", "system")
        args = tuple(a.format(marker=str(marker)) if isinstance(a, str) else a for a in args)
        data = pickle.dumps({"f": Call(function, *args)}, protocol)
        expected = function.__name__
    with pytest.raises(UserError, match=expected):
        load_restricted_pickle(write(tmp_path, data))
    assert not marker.exists()


def global_(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


@pytest.mark.parametrize(
    ("case", "data"),
    {
        "attributes of a stand-in": global_("numpy.core.multiarray", "scalar") + b"(N}X\x01\x00\x00\x00aK\x01stb.",
        "attributes of a dict": b"}}X\x01\x00\x00\x00aK\x01sb.",
        "an array of objects": pickle.dumps(np.array([None, 1], object)),
        "a record array": pickle.dumps(np.zeros(2, [("a", "f4")])),
        "an object dtype": global_("numpy", "dtype") + b"(X\x01\x00\x00\x00OK\x00K\x01tR.",
        "numpy's own rebuild of another class": global_("copyreg", "_reconstructor") + global_("numpy", "dtype")
        + global_("builtins", "object") + b"N\x87R.",
        "a dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.tofile_\x93.",
        "a persistent id": b"Pid\n.",
        "an extension code": b"\x82\x01.",
        "a terabyte of zeros": global_("builtins", "bytearray") + b"(J\xff\xff\xff\x7ftR.",
        "a class": global_("numpy", "ndarray") + b".",
        "an encoding": global_("_codecs", "encode") + b"(X\x01\x00\x00\x00aX\x03\x00\x00\x00hextR.",
    }.items(),
)  # fmt: skip
def test_refuses_tricks(tmp_path, case, data):
    with pytest.raises(UserError) as caught:
        load_restricted_pickle(write(tmp_path, data))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("case", "data"),
    {
        "empty": b"",
        "text": b"hello, I am not a pickle",
        "a zip": b"PK\x03\x04" + bytes(100),
        "a length beyond the file": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"x.",
        "a frame beyond the file": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"}.",
        "deep nesting": b"]" * 100_000 + b"a" * 99_999 + b".",
    }.items(),
)
def test_damage_is_one_line(tmp_path, case, data):
    with pytest.raises(UserError) as caught:
        load_restricted_pickle(write(tmp_path, data))
    assert "\n" not in str(caught.value)


def test_memo_numbers_reserve_nothing(tmp_path):
    # the unpickler in C would ask for 64 GB here
    assert load_restricted_pickle(write(tmp_path, b"\x80\x02}r\xff\xff\xff\xff.")) == {}


def test_every_truncation_is_reported(tmp_path):
    data = pickle.dumps({"a": np.arange(3.0), "m": scipy.sparse.csc_matrix(np.eye(2)), "s": "text"}, 2)
    for n in range(len(data)):
        with pytest.raises(UserError):
            load_restricted_pickle(write(tmp_path, data[:n]))


def test_arrays_must_fit_their_bytes(tmp_path):
    good = pickle.dumps(np.zeros((2, 3)), 2)
    for shape in (b"M\xff\xffM\xff\xff\x86", b"J\xff\xff\xff\xffK\xfa\x86", b"K\x02K\x04\x86"):
        with pytest.raises(UserError, match=r"shape|damaged"):
            load_restricted_pickle(write(tmp_path, good.replace(b"K\x02K\x03\x86", shape)))


def test_sparse_indices_must_lie_inside(tmp_path):
    matrix = scipy.sparse.csc_matrix(np.eye(3))
    matrix.indices[1] = 1000
    with pytest.raises(UserError, match="damaged"):
        read(tmp_path, matrix)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.pkl"):
        load_restricted_pickle(tmp_path / "nothing.pkl")
    with pytest.raises(UserError):
        load_restricted_pickle(tmp_path)


def test_loops_end(tmp_path):
    loop = []
    loop.append(loop)
    buffer = io.BytesIO()
    pickle.dump({"loop": loop}, buffer)
    assert load_restricted_pickle(write(tmp_path, buffer.getvalue())) == {"loop": [None]}

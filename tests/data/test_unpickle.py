"""The restricted unpickler: numpy and plain containers come through, everything else is refused and not run."""

import io
import os
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from trivium.data.unpickle import safe_load


def dump(path: Path, value: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


ARRAYS = {
    "float32": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "transposed": np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2),
    "big_endian": np.arange(3, dtype=">i4"),
    "bool": np.array([True, False]),
    "unicode": np.array(["été", "中文", ""]),
    "bytes": np.array([b"a", b"bc"]),
    "empty": np.zeros((0, 5), dtype=np.float16),
    "no_axes": np.array(3.5),
    "objects": np.array([["a", "b"], ["c", "d"]], dtype=object),
}


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_and_containers_come_back_as_the_pickle_module_gives_them(tmp_path: Path, protocol: int) -> None:
    shared = np.arange(3)
    value = {
        **ARRAYS,
        "scalars": [np.float32(0.1), np.int64(-3), np.str_("x"), np.bool_(True)],
        "plain": OrderedDict(a=(1, 2.5, None, "s", b"b", True), b={1, 2}, c=frozenset("q")),
        "nested": ({"deep": [shared]}, shared),
    }
    path = dump(tmp_path / "a.pkl", value, protocol)
    found, expected = safe_load(path), pickle.loads(path.read_bytes())
    assert list(found) == list(value)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == expected[name].dtype
        assert found[name].shape == array.shape
    assert [type(x) for x in found["scalars"]] == [type(x) for x in value["scalars"]]
    assert found["scalars"] == value["scalars"]
    assert found["plain"] == value["plain"]
    np.testing.assert_array_equal(found["nested"][0]["deep"][0], shared)
    np.testing.assert_array_equal(found["nested"][1], shared)


def rename_numpy(data: bytes) -> bytes:
    """The same pickle (protocol 2) with numpy 1's module names instead of numpy 2's, or the other way round."""
    new, old = b"numpy._core.", b"numpy.core."
    return data.replace(new, old) if new in data else data.replace(old, new)


def test_files_of_the_other_numpy_generation_are_read(tmp_path: Path) -> None:
    data = pickle.dumps({"a": np.arange(4.0), "b": np.float64(2)}, protocol=2)
    other = rename_numpy(data)
    assert other != data
    (tmp_path / "a.pkl").write_bytes(other)
    found = safe_load(tmp_path / "a.pkl")
    np.testing.assert_array_equal(found["a"], np.arange(4.0))
    assert found["b"] == 2


def test_python_2_strings_that_hold_array_bytes_are_read(tmp_path: Path) -> None:
    # what Python 2 wrote for {"a": np.array([1.5, -2.0], "<f8")}: str opcodes (U), not bytes
    raw = np.array([1.5, -2.0]).tobytes()
    data = (
        b"\x80\x02}U\x01acnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U" + bytes([len(raw)]) + raw + b"tbs."
    )
    (tmp_path / "old.pkl").write_bytes(data)
    np.testing.assert_array_equal(safe_load(tmp_path / "old.pkl")["a"], [1.5, -2.0])


class Runs:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> object:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_pickle_that_calls_os_system_is_refused_by_name_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    proof = tmp_path / "ran"
    path = dump(tmp_path / "evil.pkl", {"train": Runs(f"touch {proof}")}, protocol)
    with pytest.raises(ValueError, match=rf"evil\.pkl: asks for {os.system.__module__}\.system"):
        safe_load(path)
    assert not proof.exists()
    pickle.loads(path.read_bytes())  # the same bytes do run elsewhere: the proof can fail
    assert proof.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [("builtins", "eval"), ("builtins", "getattr"), ("numpy", "load"), ("numpy", "memmap"), ("functools", "partial"),
     ("builtins", "list.append"), ("numpy._core.multiarray", "fromfile"), ("trivium.data.unpickle", "os")],
)  # fmt: skip
def test_every_other_name_is_refused(tmp_path: Path, module: str, name: str) -> None:
    data = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(s)]) + s.encode() for s in (module, name)) + b"\x93."
    pickletools.dis(data, out=io.StringIO())  # a well-formed pickle
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(ValueError, match=rf"a\.pkl: asks for {module}\.{name}"):
        safe_load(tmp_path / "a.pkl")


@pytest.mark.parametrize("item", [1.5, [1.0, 2.0], np.zeros(3), None, b"b"], ids=lambda item: type(item).__name__)
def test_object_array_of_anything_but_str_is_refused_with_its_key(tmp_path: Path, item: object) -> None:
    array = np.empty(2, dtype=object)
    array[0], array[1] = "text", item
    path = dump(tmp_path / "a.pkl", {"train": {"audio": array}})
    with pytest.raises(ValueError, match=r"a\.pkl: key 'train/audio' is an object array that holds"):
        safe_load(path)


def test_structured_array_is_refused(tmp_path: Path) -> None:
    path = dump(tmp_path / "a.pkl", {"x": np.zeros(2, dtype=[("a", "f4"), ("b", "O")])})
    with pytest.raises(ValueError, match="only plain numeric and text arrays"):
        safe_load(path)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_truncated_pickle_names_the_file_wherever_it_is_cut(tmp_path: Path, protocol: int) -> None:
    whole = pickle.dumps({"train": {"audio": np.arange(64.0), "id": ["a", "b"]}}, protocol=protocol)
    for end in range(0, len(whole), 7):
        (tmp_path / "cut.pkl").write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"cut\.pkl: "):
            safe_load(tmp_path / "cut.pkl")


def test_fewer_bytes_than_the_shape_needs_are_refused(tmp_path: Path) -> None:
    data = pickle.dumps(np.arange(4, dtype=np.int8), protocol=4)
    assert data.count(b"K\x04\x85") == 1  # the shape (4,)
    (tmp_path / "a.pkl").write_bytes(data.replace(b"K\x04\x85", b"K\x09\x85"))
    with pytest.raises(ValueError, match=r"array of shape \(9,\) and type int8, but 4 bytes"):
        safe_load(tmp_path / "a.pkl")


def test_missing_file_and_other_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.pkl: no such file"):
        safe_load(tmp_path / "none.pkl")
    (tmp_path / "text.pkl").write_text("ids,labels\n1,2\n")
    with pytest.raises(ValueError, match=r"text\.pkl: not a pickle"):
        safe_load(tmp_path / "text.pkl")

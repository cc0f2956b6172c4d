"""Pickles made to crash or stop the reader: keys nested deep or doubled, attributes and calls of the file's choice."""

import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from saved_objects import rewrite, save_object
from trivium.data.torch_file import load_saved_object
from trivium.data.unpickle import safe_load

LEVELS = 26  # of doubling: seconds and 2**26 parts where nothing refuses it


def nested(depth: int) -> bytes:
    return b")" + b"\x85" * depth


def doubled_list() -> bytes:
    """[[..], the same], LEVELS deep."""
    return b"]" + b"".join(b"q%c0](h%ch%ce" % (n, n, n) for n in range(LEVELS))


def as_key(value: bytes) -> bytes:
    return b"\x80\x02}" + value + b"K\x01s."


def refused(path: Path, data: bytes, match: str) -> None:
    path.write_bytes(data)
    with pytest.raises(ValueError, match=match) as caught:
        safe_load(path)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("reader", ["pkl", "dt"])
def test_key_two_million_tuples_deep_does_not_end_the_process(tmp_path: Path, reader: str) -> None:
    path, data = tmp_path / f"a.{reader}", as_key(nested(2_000_000))
    path.write_bytes(data)
    load = "from trivium.data.unpickle import safe_load as load"
    if reader == "dt":
        rewrite(save_object(path, {}), "data.pkl", lambda _: data)
        load = "from trivium.data.torch_file import load_saved_object; load = lambda p: load_saved_object(p, 'X')"
    code = f"import sys; from pathlib import Path; {load}\nload(Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.returncode
    assert f"ValueError: {path}: has a tuple as a key; only text, numbers and short tuples" in done.stderr


@pytest.mark.parametrize("double", [b"2\x86", b"q\x01h\x01\x86", b"q\x01K\x07h\x01h\x01\x870h\x01h\x01\x86"])
def test_key_that_doubles_a_tuple_at_every_level_is_refused(tmp_path: Path, double: bytes) -> None:
    refused(tmp_path / "a.pkl", as_key(b")\x85" + double * LEVELS), r"a\.pkl: has a tuple as a key")


def test_large_key_that_is_set_again_and_again_is_refused(tmp_path: Path) -> None:
    key = b"(" + b"K\x01" * 100_000 + b"tq\x000"
    refused(tmp_path / "a.pkl", b"\x80\x02" + key + b"}" + b"h\x00Ns" * 100_000 + b".", "has a tuple as a key")


@pytest.mark.parametrize("keeps", [b"Nb", b"(e", b"(u", b"(\x90", b"20", b"q\x010h\x01", b"\x940h\x00", b"(0", b"(1"])
def test_opcode_that_leaves_a_tuple_as_it_is_does_not_hide_its_depth(tmp_path: Path, keeps: bytes) -> None:
    data = as_key(nested(60) + keeps + b"\x85" * 60)
    assert isinstance(pickle.loads(data), dict)  # the pickle module does take it
    refused(tmp_path / "a.pkl", data, r"a\.pkl: (has a tuple as a key|gives a state to a tuple|not a pickle)")


DEEP = nested(9)
WAYS = {
    "setitem": b"}" + DEEP + b"K\x01s",
    "setitems": b"}(K\x01K\x01" + DEEP + b"K\x01u",
    "dict": b"(" + DEEP + b"K\x01d",
    "additems": b"\x8f(K\x01" + DEEP + b"\x90",
    "frozenset": b"(" + DEEP + b"\x91",
    "call_of_set": b"cbuiltins\nset\n](" + DEEP + b"e\x85R",
    "call_of_ordered_dict": b"ccollections\nOrderedDict\n](](" + DEEP + b"K\x01ee\x85R",
    "reduced_dict": b"ccollections\nOrderedDict\n)R(" + DEEP + b"K\x01u",
}


@pytest.mark.parametrize("way", WAYS)
def test_key_of_tuples_in_tuples_is_refused_wherever_a_key_is_hashed(tmp_path: Path, way: str) -> None:
    data = b"\x80\x04" + WAYS[way] + b"."
    pickle.loads(data)  # the pickle module does take it
    refused(tmp_path / "a.pkl", data, r"a\.pkl: has a tuple as a key")


@pytest.mark.parametrize("target", ["array", "scalar", "raw"])
def test_item_of_an_array_that_takes_hours_to_convert_is_not_set(tmp_path: Path, target: str) -> None:
    arrays = {
        "array": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85U\1btR",
        "scalar": b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\nU\x02u1\x85RU\1atR",
        "raw": b"cnumpy.core.numeric\n_frombuffer\n(cbuiltins\nbytearray\nC\x01a\x85RcTYPEK\x01\x85U\x01CtR",
    }
    made = arrays[target].replace(b"cTYPE", b"cnumpy\ndtype\nU\x02u1\x85R")
    refused(tmp_path / "a.pkl", b"\x80\x04" + made + b"N" + doubled_list() + b"s.", r"a\.pkl: not a pickle")


def test_array_is_given_its_values_once(tmp_path: Path) -> None:
    """numpy frees the memory of the first, over which another array may lie."""
    data = pickle.dumps(np.arange(3.0), protocol=2)
    build = data[data.rindex(b"(K\x01K\x03\x85") : -1]
    assert pickle.loads(data[:-1] + build + b".").tolist() == [0, 1, 2]  # the pickle module does take it
    refused(tmp_path / "a.pkl", data[:-1] + build + b".", r"a\.pkl: gives a state to an array that has one")


@pytest.mark.parametrize("count", [1, 1 << 20])
def test_array_of_more_objects_than_its_list_holds_is_refused(tmp_path: Path, count: int) -> None:
    data = pickle.dumps(np.array(["a", "b"], dtype=object), protocol=2)
    assert data.count(b"K\x02\x85") == 1
    data = data.replace(b"K\x02\x85", b"J" + count.to_bytes(4, "little") + b"\x85")
    refused(tmp_path / "a.pkl", data, rf"a\.pkl: holds an array of shape \({count},\) and type object, but 2 objects")


def test_memo_number_of_four_billion_takes_no_memory(tmp_path: Path) -> None:
    """The pickle module's own unpickler makes room for all numbers up to it: 64 GiB for six bytes."""
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02Nr\xff\xff\xff\xff.")
    tracemalloc.start()
    try:
        assert safe_load(tmp_path / "a.pkl") is None
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", [2**40, 2**50, 2**61, 2**63 - 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("opcode", [pickle.BINBYTES8, pickle.BYTEARRAY8, pickle.BINUNICODE8, pickle.FRAME])
def test_length_past_every_file_s_end_is_a_damaged_file(tmp_path: Path, opcode: bytes, length: int) -> None:
    data = b"\x80\x05" + opcode + length.to_bytes(8, "little") + b"abc."
    refused(tmp_path / "a.pkl", data, r"a\.pkl: not a pickle, or cut off")


U1 = b"cnumpy\ndtype\nU\x02u1\x85R"
FROM_BUFFER = b"cnumpy.core.numeric\n_frombuffer\n(C\x01a"
CALLS = {
    "bytes": (b"cbuiltins\nbytes\n\x8a\x05\0\0\0\0\x10\x85R", "TypeError"),  # bytes(2 ** 36)
    "bytearray": (b"cbuiltins\nbytearray\n\x8a\x05\0\0\0\0\x10\x85R", "TypeError"),
    "bytearray_codec": (b"cbuiltins\nbytearray\nU\x01a" + doubled_list() + b"\x86R", "the codec a list"),
    "str": (b"cbuiltins\nstr\n" + doubled_list() + b"\x85R", r"asks for builtins\.str"),
    "tuple": (b"cbuiltins\ntuple\n](K\x01K\x02e\x85R", r"asks for builtins\.tuple"),
    "frozenset": (b"cbuiltins\nfrozenset\n](" + nested(9) + b"e\x85R", "a tuple as a key"),
    "class": (b"cnumpy.core.multiarray\n_reconstruct\n" + doubled_list() + b"\x85R", "another class, a list"),
    "codec": (b"c_codecs\nencode\nU\x01a" + doubled_list() + b"\x86R", "the codec a list"),
    "order": (b"cnumpy\ndtype\nU\x02f8\x85R(K\x03" + doubled_list() + b"NNNNNtb", "byte order a list"),
    "shape": (FROM_BUFFER + U1 + doubled_list() + b"U\x01CtR", "no tuple of sizes, but a list"),
    "text_in_shape": (FROM_BUFFER + U1 + b"X\x01\0\0\0aJ\0\0\0\x40\x86U\x01CtR", "but a tuple"),  # "a" * 2 ** 30
    "no_bytes": (FROM_BUFFER[:-2] + b"\0" + U1.replace(b"u1", b"U0") + b"M\0\x10\x85U\x01CtR", "take no bytes"),
}  # fmt: skip


@pytest.mark.parametrize("case", CALLS)
def test_call_that_would_fill_memory_or_write_out_what_it_is_given_is_refused(tmp_path: Path, case: str) -> None:
    data, message = CALLS[case]
    refused(tmp_path / "a.pkl", b"\x80\x02" + data + b".", rf"a\.pkl: .*{message}")


@pytest.mark.parametrize("protocol", range(6))
def test_calls_that_the_pickle_module_writes_are_read(tmp_path: Path, protocol: int) -> None:
    value = [b"", bytearray(), bytearray(b"\xe9a"), set(), {1, (2, 3)}, frozenset(), frozenset("ab"), np.str_("")]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(value, protocol))
    found = safe_load(tmp_path / "a.pkl")
    assert found == value
    assert [type(item) for item in found] == [type(item) for item in value]


def test_no_attribute_of_the_files_making_is_set(tmp_path: Path) -> None:
    refused(tmp_path / "a.pkl", b"\x80\x02ccollections\nOrderedDict\n)R}U\x03popK\x01sb.", r"a\.pkl: ")
    refused(tmp_path / "a.pkl", b"\x80\x02cnumpy\ndtype\n}U\x05helloK\x01sb.", r"a\.pkl: ")


def test_key_in_a_message_is_short(tmp_path: Path) -> None:
    array = np.array([None, "a"], dtype=object)
    data = pickle.dumps({"k" * 10_000: {("v",) * 60: array}})
    refused(tmp_path / "a.pkl", data, r"a\.pkl: key 'k{60}/a tuple' is an object array")


STORAGE = (b"X\7\0\0\0storage", b"ctorch\nFloatStorage\n", b"X\1\0\0\x000", b"X\3\0\0\0cpu", b"K\x18")


@pytest.mark.parametrize("part", range(9))
def test_tensor_of_anything_but_numbers_is_refused_in_few_words(tmp_path: Path, part: int) -> None:
    """In place of a part of the storage's id, the whole id, and of offset, shape and strides: lists, doubled."""
    parts = [*STORAGE, b"", b"K\0", b"K\x18\x85", b"K\1\x85"]
    parts[part] = doubled_list()
    pid = parts[5] or b"(" + b"".join(parts[:5]) + b"t"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + pid + b"Q" + b"".join(parts[6:]) + b"\x89NtR"
    path = save_object(tmp_path / "a.dt", {"x": torch.arange(24.0)})
    rewrite(path, "data.pkl", lambda data: data[: data.index(b"X\1\0\0\0x") + 6] + tensor + b"sb.")
    if part == 3:  # the device is not looked at
        assert load_saved_object(path, "AffectDataset")["x"][-1] == 23
        return
    with pytest.raises(ValueError, match=r"a\.dt: (holds|refers|storage)") as caught:
        load_saved_object(path, "AffectDataset")
    assert len(str(caught.value)) < 400

"""Pickles made to crash or stop the reader: keys nested deep or doubled, attributes and calls of the file's choice."""

import io
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from saved_objects import rewrite, save_object

from trivium.data import pickle_scan
from trivium.data.pickle_scan import RefusedError, check_pickle
from trivium.data.torch_file import load_saved_object
from trivium.data.unpickle import RestrictedUnpickler, safe_load

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
    assert f"ValueError: {path}: nests tuples more than 100 deep" in done.stderr


@pytest.mark.parametrize("double", [b"2\x86", b"q\x01h\x01\x86", b"q\x01K\x07h\x01h\x01\x870h\x01h\x01\x86"])
def test_key_that_doubles_a_tuple_at_every_level_is_refused(tmp_path: Path, double: bytes) -> None:
    refused(tmp_path / "a.pkl", as_key(b")\x85" + double * LEVELS), r"a\.pkl: holds tuples that share parts")


def test_large_key_that_is_set_again_and_again_is_refused(tmp_path: Path) -> None:
    key = b"(" + b"K\x01" * 100_000 + b"tq\x000"
    refused(tmp_path / "a.pkl", b"\x80\x02" + key + b"}" + b"h\x00Ns" * 100_000 + b".", "tuples that share parts")


@pytest.mark.parametrize("keeps", [b"Nb", b"(e", b"(u", b"(\x90", b"20", b"q\x010h\x01", b"\x940h\x00", b"(0", b"(1"])
def test_opcode_that_leaves_a_tuple_as_it_is_does_not_hide_its_depth(tmp_path: Path, keeps: bytes) -> None:
    data = as_key(nested(60) + keeps + b"\x85" * 60)
    assert isinstance(pickle.loads(data), dict)  # the pickle module does take it
    refused(tmp_path / "a.pkl", data, "nests tuples more than 100 deep")
    (tmp_path / "a.pkl").write_bytes(as_key(nested(60) + keeps + b"\x85" * 40))
    assert len(safe_load(tmp_path / "a.pkl")) == 1


def true_depth(value: Any) -> tuple[int, int]:
    """Of tuples in tuples: of the value itself, and the most of anything in it."""
    if not isinstance(value, list | tuple | dict):
        return 0, 0
    parts = [true_depth(part) for part in (value.values() if isinstance(value, dict) else value)]
    own = 1 + max(own for own, _ in parts) if isinstance(value, tuple) and parts else 0
    return own, max([own, *(most for _, most in parts)])


def tree(rng: random.Random, levels: int, made: list[Any]) -> Any:
    kind = rng.randrange(6)
    if made and kind == 0:
        return rng.choice(made)
    if not levels or kind == 1:
        return rng.choice([1, 300, 1 << 70, 0.5, "é", None, True, ()])
    parts = [tree(rng, levels - 1, made) for _ in range(rng.randrange(5))]
    made.append(dict(enumerate(parts)) if kind == 2 else list(parts) if kind == 3 else tuple(parts))
    return made[-1]


@pytest.mark.parametrize("protocol", range(6))
def test_depth_is_that_of_the_values(monkeypatch: pytest.MonkeyPatch, protocol: int) -> None:
    monkeypatch.setattr(pickle_scan, "MAX_DEPTH", 3)
    rng = random.Random(protocol)
    refusals = 0
    for _ in range(300):
        value = tree(rng, 6, [])
        data = pickle.dumps(value, protocol)
        expected = true_depth(value)[1] > 3
        file = io.BytesIO(data + b"rest")
        try:
            check_pickle(file)
        except RefusedError:
            assert expected
            refusals += 1
        else:
            assert not expected
            assert file.tell() == len(data)
    assert 30 < refusals < 270


PIECES = [b"(", b")", b"N", b"K\x01", b"]", b"}", b"\x8f", b"\x85", b"\x86", b"\x87", b"t", b"l", b"d", b"\x91", b"0",
          b"1", b"2", b"a", b"e", b"s", b"u", b"\x90", b"b", b"q\0", b"p1\n", b"\x94", b"h\0", b"g1\n", b"j\2\0\0\0",
          b"U\1a", b"X\1\0\0\0b", b"T\1\0\0\0c", b"C\1d", b"\x8a\1\7", b"I01\n", b"F1.5\n", b"V\xe9\n"]  # fmt: skip


def test_random_programs_that_the_pickle_module_runs_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_scan, "MAX_DEPTH", 2)
    rng = random.Random(0)
    ran = deep = 0
    for _ in range(60_000):
        data = b"\x80\x04" + b"".join(rng.choices(PIECES, k=rng.randrange(1, 14))) + b"."
        try:
            value = pickle.loads(data, encoding="latin1")
            expected = true_depth(value)[1] > 2
        except (Exception, RecursionError):
            continue
        ran += 1
        try:
            check_pickle(io.BytesIO(data))
        except RefusedError:
            continue
        assert not expected, data
        deep += true_depth(value)[1] == 2
    assert ran > 1000
    assert deep > 5


def test_memo_number_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "a.pkl", b"\x80\x02Nr\xff\xff\xff\xff.", r"a\.pkl: numbers a value 4294967295 after 3 opcodes")


@pytest.mark.parametrize("length", [2**40, 2**50, 2**61, 2**63 - 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("opcode", [pickle.BINBYTES8, pickle.BYTEARRAY8, pickle.BINUNICODE8, pickle.FRAME])
def test_length_past_every_file_s_end_is_a_damaged_file(tmp_path: Path, opcode: bytes, length: int) -> None:
    data = b"\x80\x05" + opcode + length.to_bytes(8, "little") + b"abc."
    refused(tmp_path / "a.pkl", data, r"a\.pkl: not a pickle, or cut off")


@pytest.mark.parametrize("protocol", [2, 4])
def test_many_small_arrays_that_share_their_type_stay_under_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    monkeypatch.setattr(pickle_scan, "FREE_SIZE", 1000)
    value = [(np.float32(n), np.arange(3), ("v", n)) for n in range(2000)]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(value, protocol))
    found = safe_load(tmp_path / "a.pkl")
    assert [number for number, _, _ in found] == list(range(2000))


U1 = b"cnumpy\ndtype\nU\x02u1\x85R"
FROM_BUFFER = b"cnumpy.core.numeric\n_frombuffer\n(C\x01a"
CALLS = {
    "bytes": (b"cbuiltins\nbytes\n\x8a\x05\0\0\0\0\x10\x85R", "TypeError"),  # bytes(2 ** 36)
    "bytearray": (b"cbuiltins\nbytearray\n\x8a\x05\0\0\0\0\x10\x85R", "TypeError"),
    "bytearray_codec": (b"cbuiltins\nbytearray\nU\x01a" + doubled_list() + b"\x86R", "the codec a list"),
    "str": (b"cbuiltins\nstr\n" + doubled_list() + b"\x85R", r"asks for builtins\.str"),
    "tuple": (b"cbuiltins\ntuple\n](K\x01K\x02e\x85R", r"asks for builtins\.tuple"),
    "frozenset": (b"cbuiltins\nfrozenset\n](" + nested(9) + b"e\x85R", "a frozenset of tuples"),
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
    assert not RestrictedUnpickler._dtype.__dict__


def test_key_in_a_message_is_short(tmp_path: Path) -> None:
    array = np.array([None, "a"], dtype=object)
    data = pickle.dumps({"k" * 10_000: {("v",) * 10_000: array}})
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

"""Objects of torch.save without torch and without their class: the same numbers, and nothing of the file is run."""

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from saved_objects import Runs, class_at_hand, rewrite, save_object
from trivium.data.torch_file import load_saved_object, load_tensors

BASE = torch.arange(24.0).reshape(2, 3, 4)
TENSORS = {
    "contiguous": BASE,
    "shared": BASE[1, 1:],
    "transposed": torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).T,
    "every_other": torch.arange(10)[3::2],
    "no_axes": torch.tensor(2.5, dtype=torch.float64),
    "empty": torch.zeros(0, 4),
    "empty_at_the_end": torch.arange(3.0)[3:],
    "with_gradient": torch.ones(2, requires_grad=True),
    "parts": torch.tensor([[True, False]]),
    **{
        str(kind).removeprefix("torch."): torch.tensor([0, 1, 100], dtype=kind)
        for kind in (torch.float16, torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)
    },
}


def load(path: Path) -> dict[str, object]:
    return load_saved_object(path, "AffectDataset")


def test_every_kind_of_tensor_is_what_torch_has(tmp_path: Path) -> None:
    more = {"meta": np.array([[b"v", b"0.5"]]), "n": 3, "name": "mosi", "nested": [{"a": torch.tensor([7])}]}
    found = load(save_object(tmp_path / "a.dt", {**TENSORS, **more}))
    for name, tensor in TENSORS.items():
        expected = tensor.detach().numpy()
        assert found[name].dtype == expected.dtype, name
        np.testing.assert_array_equal(found[name], expected, strict=True, err_msg=name)
    assert found["meta"].tolist() == [[b"v", b"0.5"]]
    assert (found["n"], found["name"]) == (3, "mosi")
    assert found["nested"][0]["a"].tolist() == [7]


def test_tensors_without_a_class_are_read_by_their_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(BASE.mT, path)
    np.testing.assert_array_equal(load_tensors(path)[""], BASE.mT.numpy())
    torch.save({"x": BASE, "y": np.arange(3.0)}, path)
    found = load_tensors(path)
    assert list(found) == ["x", "y"]
    np.testing.assert_array_equal(found["x"], BASE.numpy())
    np.testing.assert_array_equal(found["y"], [0, 1, 2])
    torch.save([BASE], path)
    with pytest.raises(ValueError, match=r"a\.pt: holds list; expected a tensor, or a dict of tensors"):
        load_tensors(path)
    torch.save({3: BASE}, path)
    with pytest.raises(ValueError, match=r"a\.pt: holds ndarray under 3; expected a tensor"):
        load_tensors(path)
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match=r"a\.pt: asks for .*, which could run code"):
        load_tensors(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_with_classes_is_read(tmp_path: Path, protocol: int) -> None:
    path = save_object(tmp_path / "a.dt", {"x": BASE, "y": np.arange(3.0)}, pickle_protocol=protocol)
    found = load(path)
    np.testing.assert_array_equal(found["x"], BASE.numpy())
    np.testing.assert_array_equal(found["y"], [0, 1, 2])


def test_tensor_of_a_gpu_is_read_without_one(tmp_path: Path) -> None:
    path = save_object(tmp_path / "a.dt", {"x": BASE})
    rewrite(path, "data.pkl", lambda data: data.replace(b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0"))
    with zipfile.ZipFile(path) as archive:
        assert b"cuda:0" in archive.read("a/data.pkl")
    np.testing.assert_array_equal(load(path)["x"], BASE.numpy())


def test_file_of_a_big_endian_machine_is_read(tmp_path: Path) -> None:
    path = save_object(tmp_path / "a.dt", {"x": BASE})
    rewrite(path, "byteorder", lambda _: b"big")
    rewrite(path, "data/0", lambda data: np.frombuffer(data, "<f4").astype(">f4").tobytes())
    np.testing.assert_array_equal(load(path)["x"], BASE.numpy())
    rewrite(path, "byteorder", lambda _: b"middle")
    with pytest.raises(ValueError, match=r"a\.dt: has byte order b'middle'"):
        load(path)


def test_archive_of_before_the_byteorder_member_is_little(tmp_path: Path) -> None:
    path = save_object(tmp_path / "a.dt", {"x": BASE})
    with zipfile.ZipFile(path) as archive:
        kept = {n: archive.read(n) for n in archive.namelist() if n.endswith(("/data.pkl", "/version", "/data/0"))}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in kept.items():
            archive.writestr(name, data)
    np.testing.assert_array_equal(load(path)["x"], BASE.numpy())


def test_no_torch_is_imported(tmp_path: Path) -> None:
    path = save_object(tmp_path / "a.dt", {"x": BASE})
    code = (
        "import sys; from pathlib import Path; from trivium.data.torch_file import load_saved_object as load\n"
        "x = load(Path(sys.argv[1]), 'AffectDataset')['x']; assert x.sum() == 276, x\n"
        "assert 'torch' not in sys.modules and 'gmc_code' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True)


def test_file_that_would_run_a_command_is_refused_and_does_not_run(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    path = save_object(tmp_path / "a.dt", {"x": BASE, "meta": Runs(f"touch {proof}")})
    with pytest.raises(ValueError, match=rf"a\.dt: asks for {os.system.__module__}\.system, which could run code"):
        load(path)
    assert not proof.exists()
    with class_at_hand():
        torch.load(path, weights_only=False)  # the same file does run elsewhere: the proof can fail
    assert proof.exists()


class Calls:
    """Asks for any callable by name, with arguments."""

    def __init__(self, what: Callable[..., object], *arguments: object) -> None:
        self.call = what, arguments

    def __reduce__(self) -> object:
        return self.call


class Other:
    pass


REFUSED = {
    "parameter": (torch.nn.Parameter(BASE), r"asks for torch\._utils\._rebuild_parameter"),
    "bfloat16": (BASE.bfloat16(), r"asks for torch\.BFloat16Storage"),
    "sparse": (BASE.to_sparse(), r"asks for torch\._utils\._rebuild_sparse_tensor"),
    "other_class": (Other(), r"asks for test_torch_file\.Other"),
    "numpy_load": (Calls(np.load, "x"), r"asks for numpy\.load"),
    "torch_load": (Calls(torch.load, io.BytesIO(b"")), r"asks for torch\.serialization\.load|asks for _io\.BytesIO"),
    "device": (torch.device("cpu"), r"asks for torch\.device"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_everything_else_is_refused_by_name(tmp_path: Path, case: str) -> None:
    value, message = REFUSED[case]
    path = save_object(tmp_path / "a.dt", {"x": value})
    with pytest.raises(ValueError, match=rf"a\.dt: {message}"):
        load(path)


def forged(folder: Path, *rebuild: object) -> Path:
    """A file whose tensor `x`, of 24 floats, is rebuilt from (offset, shape, strides) of our choice."""
    path = save_object(folder / "a.dt", {"x": BASE})
    with zipfile.ZipFile(path) as archive:
        data = archive.read("a/data.pkl")
    start = data.index(b"Q") + 1  # the storage stands before, False of requires_grad behind
    end = data.index(b"\x89", start)
    assert data[start:end].startswith(b"K\x00K\x02K\x03K\x04\x87")
    new = b"".join(pickle.dumps(part, 2)[2:-1] for part in rebuild)
    rewrite(path, "data.pkl", lambda whole: whole[:start] + new + whole[end:])
    return path


def test_a_forgery_of_the_true_numbers_is_read(tmp_path: Path) -> None:
    np.testing.assert_array_equal(load(forged(tmp_path, 2, (2, 3), (4, 1)))["x"], [[2, 3, 4], [6, 7, 8]])


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (1, (2, 3, 4), (12, 4, 1)),  # one past the end
        (0, (25,), (1,)),
        (0, (2,), (24,)),
        (24, (1,), (1,)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (-2,), (1,)),
        (0, (1 << 40,), (0,)),  # a terabyte of one number
        (0, (2, 3), (1,)),
        (0, (2.0,), (1,)),
    ],
)
def test_tensor_that_leaves_its_storage_is_refused(
    tmp_path: Path, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    path = forged(tmp_path, offset, shape, strides)
    with pytest.raises(ValueError, match=r"a\.dt: holds a tensor of offset"):
        load(path)


def test_storage_of_another_size_is_refused(tmp_path: Path) -> None:
    path = save_object(tmp_path / "a.dt", {"x": BASE})
    rewrite(path, "data/0", lambda data: data[:-4])
    with pytest.raises(ValueError, match=r"a\.dt: storage 0 has 92 bytes, but should have 24 float32"):
        load(path)


def test_missing_member_is_named(tmp_path: Path) -> None:
    path = save_object(tmp_path / "a.dt", {"x": BASE})
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in archive.namelist() if not name.endswith("data/0")}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in kept.items():
            archive.writestr(name, data)
    with pytest.raises(ValueError, match=r"a\.dt: has no member a/data/0"):
        load(path)


def test_compressed_member_is_refused(tmp_path: Path) -> None:
    """A few bytes could become terabytes."""
    path = save_object(tmp_path / "a.dt", {"x": BASE})
    rewrite(path, "data/0", lambda data: data, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r"a\.dt: member a/.* is compressed"):
        load(path)


def test_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = save_object(tmp_path / "a.dt", {"x": BASE})
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a/data/0", bytes(96))
    with pytest.raises(ValueError, match=r"a\.dt: has two members of one name"):
        load(path)


def test_flipped_byte_is_found_by_the_archives_checksum(tmp_path: Path) -> None:
    path = save_object(tmp_path / "a.dt", {"x": BASE})
    content, values = path.read_bytes(), struct.pack("<3f", 10, 11, 12)
    assert content.count(values) == 1
    path.write_bytes(content.replace(values, values[:-1] + b"\x42"))
    with pytest.raises(ValueError, match=r"a\.dt: .*Bad CRC-32 for file 'a/data/0'"):
        load(path)


def test_truncated_file_is_named_wherever_it_is_cut(tmp_path: Path) -> None:
    whole = save_object(tmp_path / "a.dt", {"x": BASE}).read_bytes()
    for end in range(0, len(whole), 61):
        (tmp_path / "a.dt").write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"a\.dt: not a file of torch\.save, or cut off"):
            load(tmp_path / "a.dt")


def test_file_without_its_beginning_is_named(tmp_path: Path) -> None:
    """The directory at the end still stands, and points before the start."""
    whole = save_object(tmp_path / "a.dt", {"x": BASE}).read_bytes()
    (tmp_path / "a.dt").write_bytes(whole[5:])
    with pytest.raises(ValueError, match=r"a\.dt: member a/data\.pkl cannot be read \(.*\); the file is damaged"):
        load(tmp_path / "a.dt")


def test_old_format_is_refused_with_how_to_convert_it(tmp_path: Path) -> None:
    path = save_object(tmp_path / "a.dt", {"x": BASE}, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"a\.dt: was saved by torch before 1\.6.* convert it: torch\.save\("):
        load(path)


@pytest.mark.parametrize("value", [{"x": BASE}, OrderedDict(a=1), BASE, None])
def test_other_objects_are_refused(tmp_path: Path, value: object) -> None:
    torch.save(value, tmp_path / "a.dt")
    with pytest.raises(ValueError, match=r"a\.dt: holds \w+; expected an object of the class AffectDataset"):
        load(tmp_path / "a.dt")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.dt: no such file"):
        load(tmp_path / "none.dt")

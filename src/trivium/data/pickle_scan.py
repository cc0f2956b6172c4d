"""What a pickle would build, followed opcode by opcode without building it.

Python hashes a tuple through all that it holds, on the C stack, and once for every place where a part is shared. As a
key of a dict, a tuple nested two million deep (2 MB of file) therefore ends the process, and one that holds the same
tuple twice, which does the same, 28 levels down, stops it for hours. Both are refused here before anything is loaded.
"""

from __future__ import annotations

import pickletools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, NamedTuple

MAX_DEPTH = 100  # of tuples in tuples; the arrays and clips of real files have under 10
FREE_SIZE, SIZE_PER_OPCODE = 10_000_000, 20  # real files take about 5 an opcode
_CHANGING = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"}  # what they change stays where it is
_PUTTING = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GETTING = {"GET", "BINGET", "LONG_BINGET"}
_PREFIX = {  # arguments that say their own length: bytes of that number
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}


class RefusedError(ValueError):
    """A reason that is ours; `unpickle.naming` puts the file's name in front."""


class _Item(NamedTuple):
    """What stands for a value. size: the parts that a hash would visit, shared ones as often as they come."""

    depth: int
    size: int


_LEAF = _Item(0, 1)  # what is put into a list or dict that is there already does not count: no hash goes into it


@dataclass(frozen=True, slots=True)
class _Opcode:
    """argument: its bytes, or pickletools' negative code. pops: without those above a mark. plain: only puts a leaf."""

    name: str
    argument: int
    lines: int
    pops: int
    to_mark: bool
    pushes: bool
    plain: bool


def _compiled(info: pickletools.OpcodeInfo) -> _Opcode:
    before = [kind.name for kind in info.stack_before]
    changing = info.name in _CHANGING
    return _Opcode(
        info.name,
        info.arg.n if info.arg else 0,
        lines=2 if info.arg is pickletools.stringnl_noescape_pair else 1,
        pops=0 if "mark" in before else len(before) - changing,
        to_mark="mark" in before,
        pushes=bool(info.stack_after) and not changing,
        plain=bool(info.stack_after) and not before and info.name not in {"MARK", *_GETTING},
    )


_OPCODES = {info.code.encode("latin1"): _compiled(info) for info in pickletools.opcodes}


def check_pickle(file: IO[bytes]) -> None:
    """Read to the end of the pickle, past the bytes of its arrays.

    file: can be seeked; stands behind the pickle afterwards.
    Raises RefusedError for tuples nested too deep, or too large with shared parts counted each time; ValueError,
    IndexError, KeyError or EOFError for what is no pickle.
    """
    machine = _Machine(file)
    while machine.step():
        pass


class _Machine:
    """The unpickler's stack, marks and memo, with an `_Item` for each value."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._stack: list[_Item] = []
        self._marks: list[int] = []
        self._memo: dict[int, _Item] = {}
        self._opcodes = self._handled = 0

    def step(self) -> bool:
        """One opcode; False for the one that ends the pickle."""
        code = self._file.read(1)
        if not code:
            raise EOFError("no end")
        if code not in _OPCODES:
            raise ValueError(f"no opcode {code!r}")
        opcode = _OPCODES[code]
        argument = self._argument(opcode)
        self._opcodes += 1
        if opcode.plain:
            self._stack.append(_LEAF)
        elif opcode.name in _GETTING:
            self._stack.append(self._memo[_number(opcode, argument)])
        elif opcode.name in _PUTTING:
            self._put(opcode, argument)
        elif opcode.name == "MARK":
            self._marks.append(len(self._stack))
        elif opcode.name == "POP" and self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        elif opcode.name == "DUP":
            self._stack.append(self._top())
        else:
            self._join(opcode)
        return opcode.name != "STOP"

    def _argument(self, opcode: _Opcode) -> bytes:
        """Its bytes; empty for one that says its own length, which is skipped."""
        size = opcode.argument
        if size == pickletools.UP_TO_NEWLINE:
            return b"".join([self._file.readline() for _ in range(opcode.lines)])
        if size >= 0:
            return self._file.read(size) if size else b""
        signed = size == pickletools.TAKEN_FROM_ARGUMENT4
        length = int.from_bytes(self._file.read(_PREFIX[size]), "little", signed=signed)
        if length < 0:
            raise ValueError(f"{opcode.name} of {length} bytes")
        try:
            self._file.seek(length, 1)
        except OSError as error:  # past the largest file that there can be
            raise EOFError(f"{opcode.name} of {length} bytes") from error
        return b""

    def _top(self) -> _Item:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise IndexError("nothing on the stack")
        return self._stack[-1]

    def _put(self, opcode: _Opcode, argument: bytes) -> None:
        index = len(self._memo) if opcode.name == "MEMOIZE" else _number(opcode, argument)
        # The unpickler makes room for all numbers up to this one: 64 GiB for six bytes
        if index > self._opcodes:
            raise RefusedError(
                f"numbers a value {index} after {self._opcodes} opcodes, which no writer of pickles does"
            )
        self._memo[index] = self._top()

    def _join(self, opcode: _Opcode) -> None:
        """What the opcode takes becomes part of what it leaves, whether it builds a tuple or calls something."""
        taken = self._take(opcode)
        if not taken:
            if opcode.pushes:
                self._stack.append(_LEAF)
            return
        size = 1 + sum(item.size for item in taken)
        depth = 1 + max(item.depth for item in taken)
        self._handled += size
        if opcode.pushes and depth > MAX_DEPTH:
            raise RefusedError(f"nests tuples more than {MAX_DEPTH} deep")
        if self._handled > FREE_SIZE + SIZE_PER_OPCODE * self._opcodes:
            raise RefusedError(
                f"holds tuples that share parts, of {self._handled} parts and more if each is counted where it comes"
            )
        if opcode.pushes:
            self._stack.append(_Item(depth, size))

    def _take(self, opcode: _Opcode) -> Sequence[_Item]:
        if opcode.to_mark:
            start = self._marks.pop()
            taken = self._stack[start:]
            del self._stack[start:]
            return taken
        taken = []
        for _ in range(opcode.pops):
            taken.append(self._top())
            self._stack.pop()
        return taken


def _number(opcode: _Opcode, argument: bytes) -> int:
    return int(argument) if opcode.argument == pickletools.UP_TO_NEWLINE else int.from_bytes(argument, "little")

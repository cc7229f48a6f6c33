"""The Arrow twin of a large table: one record batch in one file, filled in place, with one column chunk in memory.

How long every buffer is must be known before the first is written, for the description of a record batch stands before
its bytes. So each column is measured first: flat ones as they pass on their way into Parquet, nested ones by reading
them once more. `pyarrow` writes the description, of arrays whose memory nobody ever touches; then each row group's
values go to where the description says, several columns at a time.
"""

import mmap
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .failures import Refused

if TYPE_CHECKING:
    import numpy
    import pyarrow

_PAGE = 4096
#: Columns are written in pieces that end at multiples of this: the kernel keeps such a piece in one huge page of its
#: cache, which whoever maps the twin gets by a single fault. A pass over pieces as they came took twice as long.
_PIECE = 2 * 1024**2
#: Address space alone, of which the kernel sets nothing aside; `mmap` has no name for it before Python 3.13.
_MAP_NORESERVE = 0x4000
_INT32_MOST = 2**31 - 1


class Node:
    """One array of the twin: a column, or what is inside one."""

    def __init__(self, kind: Any, *, is_inside: bool = False) -> None:
        import pyarrow.types as is_type

        self.kind = kind
        self.length = self.nulls = self.bytes = 0
        self.is_text = any(is_text(kind) for is_text in (
            is_type.is_string, is_type.is_binary, is_type.is_large_string, is_type.is_large_binary
        ))  # fmt: skip
        self.is_list = bool(is_type.is_list(kind) or is_type.is_large_list(kind) or is_type.is_map(kind))
        self.is_struct = bool(is_type.is_struct(kind))
        narrow = (is_type.is_string, is_type.is_binary, is_type.is_list, is_type.is_map)
        #: Inside maps offsets stay narrow, since Arrow has no map of any size.
        self.offset_size = 4 if any(is_narrow(kind) for is_narrow in narrow) else 8
        inside = [kind.field(at).type for at in range(kind.num_fields)] if self.is_nested else []
        if is_type.is_map(kind):
            inside = [_entries(kind)]
        self.children = [Node(each, is_inside=True) for each in inside]
        #: What is inside a column may be of any number: nothing of it is held back.
        self._piece = 1 if is_inside else _PIECE
        self._places: list[_Place] = []

    @property
    def is_nested(self) -> bool:
        return self.is_list or self.is_struct

    def measure(self, array: "pyarrow.Array") -> None:
        """Counts an array more, of this type but for the width of its offsets."""
        from pyarrow import compute

        self.length += len(array)
        self.nulls += array.null_count
        if self.is_text:
            self.bytes += compute.sum(compute.binary_length(array)).as_py() or 0
        for child, inside in zip(self.children, _inside(self, array), strict=True):
            child.measure(inside)

    def untouched(self, memory: "_Untouched") -> "pyarrow.Array":
        """An array of the measured length over memory that holds nothing but the last offset of each buffer of them."""
        import pyarrow
        import pyarrow.types as is_type

        if is_type.is_null(self.kind):
            return pyarrow.nulls(self.length)
        sizes = [-(-self.length // 8) if self.nulls else None]
        total = self.children[0].length if self.is_list else self.bytes
        if self.is_text or self.is_list:
            if self.offset_size == 4 and total > _INT32_MOST:
                raise Refused("A column of maps holds more than 2 GiB; split the file.", "ValueError")
            sizes += [(self.length + 1) * self.offset_size, *([self.bytes] if self.is_text else [])]
        elif not self.is_struct:
            sizes.append(-(-self.length * self.kind.bit_width // 8))
        buffers = [None if size is None else memory.take(size) for size in sizes]
        self._places = [_Place(buffer, self._piece) for buffer in buffers]
        if self.is_text or self.is_list:
            memory.put_last(buffers[1], total, self.offset_size)
        children = [child.untouched(memory) for child in self.children]
        return pyarrow.Array.from_buffers(self.kind, self.length, buffers, self.nulls, 0, children)

    def settle(self, positions: dict[int, int]) -> None:
        """Notes where in the file each buffer lies, by the address that it was described with."""
        for place in self._places:
            place.settle(positions)
        for child in self.children:
            child.settle(positions)

    def fill(self, target: int, array: "pyarrow.Array") -> None:
        """Writes an array more to its place in the file `target`."""
        import numpy
        import pyarrow.types as is_type

        if is_type.is_null(self.kind):
            return
        buffers, start, end = array.buffers(), array.offset, array.offset + len(array)
        if self.nulls:
            self._places[0].add_bits(target, _bits(buffers[0], start, end))
        if self.is_text or self.is_list:
            offsets = _offsets(buffers[1], array)
            self._places[1].add_offsets(target, offsets, self.offset_size)
            if self.is_text and len(array):
                self._places[2].add(target, memoryview(buffers[2] or b"")[int(offsets[0]) : int(offsets[-1])])
        elif is_type.is_boolean(self.kind):
            self._places[1].add_bits(target, _bits(buffers[1], start, end))
        elif not self.is_struct:
            width = self.kind.bit_width // 8
            self._places[1].add(target, numpy.frombuffer(buffers[1] or b"", numpy.uint8)[start * width : end * width])
        for child, inside in zip(self.children, _inside(self, array), strict=True):
            child.fill(target, inside)

    def finish(self, target: int) -> None:
        """Writes what was left of bits. AssertionError where a buffer is not full, or more than that."""
        for place in self._places:
            place.finish(target)
        for child in self.children:
            child.finish(target)


def describe(target: str, schema: "pyarrow.Schema", nodes: Sequence[Node]) -> int:
    """A file with the description of one record batch of the measured columns, and room for them; open for writing."""
    import pyarrow

    memory = _Untouched(sum(_room(node) for node in nodes))
    rows = nodes[0].length
    arrays = [node.untouched(memory) for node in nodes]
    batch = pyarrow.RecordBatch.from_arrays(arrays, schema=schema)
    assert batch.num_rows == rows
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    sink = _Sink(descriptor, memory)
    with pyarrow.ipc.new_file(pyarrow.PythonFile(sink, mode="w"), schema) as out:
        out.write_batch(batch)
    os.ftruncate(descriptor, sink.position)
    for node in nodes:
        node.settle(sink.positions)
    return descriptor


class _Untouched:
    """Address space that takes no memory, handed out in pieces."""

    def __init__(self, size: int) -> None:
        import pyarrow

        self._mapping = mmap.mmap(-1, max(size, _PAGE), flags=mmap.MAP_PRIVATE | _MAP_NORESERVE)
        self._whole = pyarrow.py_buffer(self._mapping)
        self._taken = 0
        self.first, self.last = self._whole.address, self._whole.address + len(self._mapping)

    def take(self, size: int) -> "pyarrow.Buffer":
        found = self._whole.slice(self._taken, size)
        self._taken += _rounded(size)
        return found

    def put_last(self, buffer: "pyarrow.Buffer", value: int, size: int) -> None:
        """The last of the offsets, by which the length of what they point into is known."""
        at = buffer.address - self.first + buffer.size - size
        self._mapping[at : at + size] = value.to_bytes(size, "little")


class _Sink:
    """A file that takes what a writer writes, but for untouched memory: of that it notes where it would lie."""

    closed = False

    def __init__(self, descriptor: int, memory: _Untouched) -> None:
        self._descriptor, self._memory = descriptor, memory
        self.position = 0
        self.positions: dict[int, int] = {}

    def write(self, data: Any) -> int:
        address, size = getattr(data, "address", 0), len(data)
        if self._memory.first <= address < self._memory.last:
            self.positions[address] = self.position
        else:
            os.pwrite(self._descriptor, data, self.position)
        self.position += size
        return size

    def tell(self) -> int:
        return self.position

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    @staticmethod
    def writable() -> bool:
        return True


class _Place:
    """A buffer's place in the file, and how far it has been filled."""

    def __init__(self, described: "pyarrow.Buffer | None", piece: int) -> None:
        self._address = described.address if described is not None and described.size else None
        self._left = described.size if described is not None else 0
        self._position = self._base = 0
        self._piece, self._held = piece, bytearray()
        self._rest: Any = None
        self._is_begun = False

    def settle(self, positions: dict[int, int]) -> None:
        if self._address is not None:
            self._position = positions[self._address]

    def add(self, target: int, data: Any) -> None:
        """Writes what ends a piece, and holds back the rest."""
        view = memoryview(data).cast("B")
        self._left -= len(view)
        whole = (self._position + len(self._held) + len(view)) // self._piece * self._piece - self._position
        if whole > 0:
            begun = -(self._position + len(self._held)) % self._piece if self._held else 0
            self._held += view[:begun]
            self._write(target, self._held)
            direct = whole - len(self._held)
            self._held = bytearray()
            self._write(target, view[begun : begun + direct])
            view = view[begun + direct :]
        self._held += view

    def add_offsets(self, target: int, offsets: "numpy.ndarray", size: int) -> None:
        import numpy

        moved = offsets.astype(f"<i{size}")
        moved += self._base - (int(offsets[0]) if len(offsets) else 0)
        self.add(target, moved[1:] if self._is_begun else moved if len(moved) else numpy.zeros(1, f"<i{size}"))
        self._is_begun = True
        self._base = int(moved[-1]) if len(moved) else self._base

    def add_bits(self, target: int, bits: "numpy.ndarray") -> None:
        import numpy

        if self._rest is not None:
            bits = numpy.concatenate([self._rest, bits])
        whole = len(bits) // 8 * 8
        self._rest = bits[whole:].copy()
        self.add(target, numpy.packbits(bits[:whole], bitorder="little"))

    def finish(self, target: int) -> None:
        import numpy

        if self._rest is not None and len(self._rest):
            self.add(target, numpy.packbits(self._rest, bitorder="little"))
        self._write(target, self._held)
        self._held = bytearray()
        assert not self._left, "a buffer was measured otherwise than it was filled"

    def _write(self, target: int, data: "bytearray | memoryview") -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(target, view, self._position)
            self._position += written
            view = view[written:]


def _inside(node: Node, array: "pyarrow.Array") -> "Iterator[pyarrow.Array]":
    """The children of a nested array, as long as its own rows reach."""
    if node.is_struct:
        yield from (array.field(at) for at in range(array.type.num_fields))
    elif node.is_list:
        offsets = _offsets(array.buffers()[1], array)
        start, end = (int(offsets[0]), int(offsets[-1])) if len(offsets) else (0, 0)
        yield array.values.slice(start, end - start)


def _offsets(buffer: "pyarrow.Buffer | None", array: "pyarrow.Array") -> "numpy.ndarray":
    import numpy
    import pyarrow.types as is_type

    kind = array.type
    wide = is_type.is_large_string(kind) or is_type.is_large_binary(kind) or is_type.is_large_list(kind)
    if buffer is None or not buffer.size:
        return numpy.zeros(1, numpy.int64)
    found = numpy.frombuffer(buffer, numpy.int64 if wide else numpy.int32)
    return found[array.offset : array.offset + len(array) + 1]


def _bits(buffer: "pyarrow.Buffer | None", start: int, end: int) -> "numpy.ndarray":
    import numpy

    if buffer is None:
        return numpy.ones(end - start, numpy.uint8)
    whole = numpy.frombuffer(buffer, numpy.uint8)[start // 8 : -(-end // 8)]
    return numpy.unpackbits(whole, bitorder="little")[start % 8 : start % 8 + end - start]


def _entries(kind: Any) -> Any:
    import pyarrow

    return (
        pyarrow.struct([kind.field(0).type.field(0), kind.field(0).type.field(1)])
        if kind.num_fields == 1
        else (pyarrow.struct([kind.key_field, kind.item_field]))
    )


def _room(node: Node) -> int:
    """Address space that the node's buffers take at most."""
    wide = 0 if node.is_nested or node.is_text else _width(node.kind) * node.length
    sizes = (node.length, (node.length + 1) * 8, node.bytes, wide)
    return sum(_rounded(size) for size in sizes) + sum(_room(child) for child in node.children)


def _width(kind: Any) -> int:
    try:
        return max(int(kind.bit_width) // 8, 1)
    except ValueError:
        return 0


def _rounded(size: int) -> int:
    """So much that every piece has an address of its own, even an empty one."""
    return -(-size // 64) * 64 + 64

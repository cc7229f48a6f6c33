"""What a training returned, as one pickle in a file whose large arrays the guests that load it map, and do not copy.

The file is a pickle that `pickle.load` reads, here or anywhere. Two things are added: what objects give as a
PickleBuffer (arrays of numpy, columns of pandas and pyarrow) and is large begins at a multiple of 64 bytes, by means of
opcodes that push a little and pop it again; and behind the pickle's end, where no one reads on, stands where each of
these buffers lies. `load` maps the file, private to this process, and has arrays lie upon the mapping: replicas of one
version share its pages until one of them writes into one.

Source: PEP 574 (out-of-band buffers); pickletools for the opcodes.
"""

import io
import mmap
import os
import pickle
import struct
from collections.abc import Iterable
from typing import IO, Any, NamedTuple

from .imports import Unpickler

_ALIGNMENT = 64
#: Opcode and length before the bytes of a buffer: one that may be written, and two of such as may not.
_HEADERS = (
    (struct.Struct("<cQ"), pickle.BYTEARRAY8),
    (struct.Struct("<cI"), pickle.BINBYTES),
    (struct.Struct("<cQ"), pickle.BINBYTES8),
)
_PLACE = struct.Struct("<QQQ?")
_END = struct.Struct("<Q24s")
_MAGIC = b"modelyard large buffers\n"


class _Place(NamedTuple):
    """A large buffer: where its opcode stands, where its bytes begin and end, and whether they may not be written."""

    at: int
    start: int
    end: int
    is_read_only: bool


def dump(model: object, path: str, pickler: Any) -> None:
    """Writes the pickle, made by that kind of Pickler."""
    with open(path, "wb") as file:
        aligned = _Aligned(file)
        pickler(aligned, protocol=5).dump(model)
        aligned.finish()


def load(file: IO[bytes]) -> tuple[object, list[str]]:
    """The object, and the modules that it was the first to need. What `pickle.load` raises, this raises."""
    size = os.fstat(file.fileno()).st_size
    places = _read_places(file, size)
    if not places:
        file.seek(0)
        unpickler = Unpickler(file)
    else:
        mapped = memoryview(mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE))
        views = [mapped[place.start : place.end] for place in places]
        unpickler = Unpickler(io.BytesIO(b"".join(_without(mapped, places))), buffers=iter(views))
    return unpickler.load(), list(unpickler.modules)


class _Aligned:
    """A file that a Pickler writes into.

    CPython hands large bytes over by themselves, each after a piece that ends with its opcode and length. Should it do
    otherwise, the pickle is as good, and nothing of it is mapped.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._at, self._last = file, 0, b""
        self._places: list[_Place] = []

    def write(self, data: Any) -> int:
        if isinstance(data, pickle.PickleBuffer):
            with data.raw() as raw:
                self._note(raw.nbytes)
                self._put(raw)
                return raw.nbytes
        self._flush()
        self._last = bytes(data)
        return len(data)

    def finish(self) -> None:
        """Writes the rest, and where the large buffers are."""
        self._flush()
        if self._places:
            for place in self._places:
                self._put(_PLACE.pack(*place))
            self._put(_END.pack(len(self._places), _MAGIC))

    def _note(self, size: int) -> None:
        """Has the buffer that follows begin where it should, if what came last announces it."""
        for form, code in _HEADERS:
            header = form.pack(code, size) if size < 1 << 8 * (form.size - 1) else b""
            if header and self._last.endswith(header):
                before = self._last.removesuffix(header)
                self._last = before + _padding(-(self._at + len(self._last)) % _ALIGNMENT) + header
                start = self._at + len(self._last)
                self._places.append(_Place(start - len(header), start, start + size, code != pickle.BYTEARRAY8))
                break
        self._flush()

    def _flush(self) -> None:
        self._put(self._last)
        self._last = b""

    def _put(self, data: Any) -> None:
        self._file.write(data)
        self._at += len(data)


def _padding(size: int) -> bytes:
    """Opcodes of that many bytes, or of one alignment more, that leave nothing behind."""
    if size == 1:
        size += _ALIGNMENT
    if size == 0:
        return b""
    if size == 2:
        return pickle.NONE + pickle.POP
    return pickle.SHORT_BINBYTES + bytes([size - 3]) + bytes(size - 3) + pickle.POP


def _read_places(file: IO[bytes], size: int) -> list[_Place]:
    """Where the large buffers lie; none where the file does not say so, or not so that it can be true."""
    if size < _END.size:
        return []
    count, magic = _END.unpack(os.pread(file.fileno(), _END.size, size - _END.size))
    start = size - _END.size - count * _PLACE.size
    if magic != _MAGIC or start < 0:
        return []
    places = [_Place(*each) for each in _PLACE.iter_unpack(os.pread(file.fileno(), count * _PLACE.size, start))]
    ends = [0, *(place.end for place in places)]
    for before, place in zip(ends, places, strict=False):
        if not before <= place.at < place.start <= place.end <= start:
            return []
    return places


def _without(mapped: memoryview, places: Iterable[_Place]) -> Iterable[bytes | memoryview]:
    """The pickle with "the next buffer" in the place of each large one."""
    end = 0
    for place in places:
        yield mapped[end : place.at]
        yield pickle.NEXT_BUFFER + (pickle.READONLY_BUFFER if place.is_read_only else b"")
        end = place.end
    yield mapped[end:]

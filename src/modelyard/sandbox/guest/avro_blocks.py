"""Avro files in pieces: a few blocks at a time behind the file's header, so that a large file is never held as a whole.

Source: the Avro specification, "Object Container Files": a header with a map of metadata and a marker of 16 bytes, then
blocks, each with its number of rows, its number of bytes, the bytes, and the marker.
"""

from collections.abc import Iterator
from typing import IO

from .uploads import Source

_MARKER_BYTES = 16
_PIECE_BYTES = 32 * 1024**2


def pieces(source: Source) -> Iterator[bytes]:
    """Files of about 32 MiB with the same header and together all blocks; at least one, which may hold no block."""
    with source.open() as file:
        header = _header(file)
        piece, count = bytearray(header), 0
        while block := _block(file, header[-_MARKER_BYTES:]):
            piece += block
            if len(piece) >= _PIECE_BYTES:
                yield bytes(piece)
                piece, count = bytearray(header), count + 1
        if len(piece) > len(header) or not count:
            yield bytes(piece)


def _header(file: IO[bytes]) -> bytes:
    _exactly(file, 4)
    while entries := _long(file):
        if entries < 0:
            _long(file)
        for _ in range(2 * abs(entries)):
            _exactly(file, _long(file))
    length = file.tell() + _MARKER_BYTES
    file.seek(0)
    return _exactly(file, length)


def _block(file: IO[bytes], marker: bytes) -> bytes:
    """The next block with all that belongs to it; nothing at the end."""
    start = file.tell()
    if not file.read(1):
        return b""
    file.seek(start)
    _long(file)
    size = _long(file)
    length = file.tell() - start + size + _MARKER_BYTES
    file.seek(start)
    block = _exactly(file, length)
    if block[-_MARKER_BYTES:] != marker:
        raise ValueError("a block does not end where it says")
    return block


def _long(file: IO[bytes]) -> int:
    found = shift = 0
    while True:
        byte = _exactly(file, 1)[0]
        found |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (found >> 1) ^ -(found & 1)
        if shift > 63:
            raise ValueError("a number is too long")


def _exactly(file: IO[bytes], length: int) -> bytes:
    read = file.read(length) if length >= 0 else b""
    if len(read) != length:
        raise ValueError("the file ends in the middle of a block")
    return read

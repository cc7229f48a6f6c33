"""The task `encode_avro`: a table as Avro object container files, the form in which clients download it.

Avro is a row after row, tables lie column by column. Each column is encoded as a whole with numpy, and the bytes of all
columns are then laid into rows: narrow columns as one block by a mask, wide ones (text) by their positions. That is
some ten times faster than writing row by row. Columns of nested types go through fastavro, value by value.

What a client's reader needs of the types. Source: the SDK's `api_client_utils.py`, `avro_to_pandas_dtype`, and what it
does with nulls: timestamps are `timestamp-micros` only; booleans with nulls are `["null", "string", "boolean"]`, else
a null would come back as False; there is no compression, which the client's reader would need packages for.
"""

import json
import os
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

from . import arrow_types, avro_columns, parts

if TYPE_CHECKING:
    import pyarrow

    from .work import Work

#: Bytes of one part file, about: parts are downloaded at once, ten threads to a client.
_PART_BYTES = 64 * 1024**2
_BLOCK_ROWS = 32_768
_BLOCK_BYTES = 8 * 1024**2
SYNC = b"modelyard-blocks"


def encode_avro(work: "Work") -> dict[str, object]:
    """Message: nothing; the table's Parquet parts in order. The answer names the files, one at least, in order."""
    os.makedirs(parts.FOLDER, exist_ok=True)
    files = [parts.Columns(source) for source in parts.mapped(work.fds)]
    schema = files[0].schema
    encoders = avro_columns.encoders(schema, files)
    writer = _Writer(container_header(schema.names, encoders))
    rows = max(256, min(_BLOCK_ROWS, _BLOCK_BYTES // (16 * max(len(schema), 1))))
    for file in files:
        for batch in file.file.iter_batches(batch_size=rows):
            for piece in _small(arrow_types.convert(batch, schema)):
                writer.block(piece.num_rows, avro_columns.rows(piece, encoders))
    return {"files": writer.finish()}


def _small(batch: "pyarrow.RecordBatch") -> "list[pyarrow.RecordBatch]":
    """The batch in pieces whose text does not need hundreds of megabytes of positions."""
    count = max(1, min(batch.num_rows, batch.nbytes // (2 * _BLOCK_BYTES)))
    step = -(-batch.num_rows // count) if batch.num_rows else 1
    return [batch.slice(start, step) for start in range(0, batch.num_rows, step)]


class _Writer:
    """Writes blocks into files, a new one whenever one is large enough."""

    def __init__(self, header: bytes) -> None:
        self._header = header
        self._files: list[dict[str, Any]] = []
        self._out: IO[bytes] | None = None

    def block(self, rows: int, data: bytes) -> None:
        out = self._out or self._begin()
        out.write(varint(rows) + varint(len(data)))
        out.write(data)
        out.write(SYNC)
        if out.tell() >= _PART_BYTES:
            self._end()

    def finish(self) -> list[dict[str, Any]]:
        """Closes the last file; a table without rows has one file too."""
        if not self._files:
            self._begin()
        self._end()
        return self._files

    def _begin(self) -> IO[bytes]:
        path = f"{parts.FOLDER}/part-{len(self._files):05}.avro"
        self._out = open(path, "wb")  # noqa: SIM115 - closed by `_end`
        self._out.write(self._header)
        self._files.append({"path": path, "size": 0})
        return self._out

    def _end(self) -> None:
        if self._out is not None:
            self._out.close()
            self._files[-1]["size"] = os.path.getsize(self._files[-1]["path"])
            self._out = None


def container_header(names: Sequence[str], encoders: Sequence[avro_columns.Encoder]) -> bytes:
    """What a file begins with: its schema, and that it is not compressed."""
    fields = [{"name": name, "type": one.schema} for name, one in zip(names, encoders, strict=True)]
    schema = json.dumps({"type": "record", "name": "row", "fields": fields}, ensure_ascii=False).encode()
    meta = [(b"avro.schema", schema), (b"avro.codec", b"null")]
    entries = b"".join(varint(len(key)) + key + varint(len(value)) + value for key, value in meta)
    return b"Obj\x01" + varint(len(meta)) + entries + varint(0) + SYNC


def varint(number: int) -> bytes:
    """A non-negative number as Avro's `long`."""
    number <<= 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)

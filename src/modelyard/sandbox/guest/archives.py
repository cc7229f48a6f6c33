"""GZ, ZIP and TAR: unpacked into the working directory, then read as what is inside.

No name from an archive ever becomes a path: members go to unnamed files. Only regular files count, hidden ones
(`__MACOSX/`, `._x`, `_SUCCESS`) do not, and what is unpacked in all has a limit. Several members make one table, in the
order of their names, if they have the same columns or `mergeFileSchemas` is set.
"""

import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from . import arrow_types
from .failures import Refused
from .uploads import Found, Options, Source

if TYPE_CHECKING:
    import pyarrow

Open = Callable[[Source, Options], Found]
_MEMBERS = 10_000
_CHUNK = 1024**2


class Unpacking:
    """Counts what all archives of one upload unpack to."""

    def __init__(self, limit: int) -> None:
        self._left = self._limit = limit

    def store(self, packed: IO[bytes], name: str) -> Source:
        """What `packed` gives, as a file without a name."""
        descriptor = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
        while chunk := packed.read(_CHUNK):
            self._left -= len(chunk)
            if self._left < 0:
                raise Refused(f"The archive unpacks to more than {self._limit} bytes.", "ValueError")
            view = memoryview(chunk)
            while view:
                view = view[os.write(descriptor, view) :]
        return Source.of(descriptor, name)


def read_gzip(source: Source, options: Options, read: Open) -> Found:
    """What is inside a file packed by gzip."""
    import gzip

    unpacking = Unpacking(options.unpacked_limit)
    try:
        with source.open() as packed, gzip.GzipFile(fileobj=packed) as unpacked:
            inner = unpacking.store(unpacked, source.name)  # type: ignore[arg-type]  # reads bytes
    except (OSError, EOFError, zlib.error) as error:
        raise Refused(f"{source.name} can't be unpacked: {error}", "ValueError") from None
    return read(inner, options)


def read_zip(source: Source, options: Options, read: Open) -> Found:
    """The table in the files of a ZIP archive."""
    unpacking = Unpacking(options.unpacked_limit)
    try:
        with source.open() as packed, zipfile.ZipFile(packed) as archive:
            members = [item for item in archive.infolist() if not item.is_dir() and _counts(item.filename)]
            _check_count(len(members))
            sources = []
            for item in sorted(members, key=lambda item: item.filename):
                with archive.open(item) as member:
                    sources.append(unpacking.store(member, f"The member {item.filename!r}"))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, zlib.error) as error:
        raise Refused(f"{source.name} can't be unpacked: {error}", "ValueError") from None
    return _joined(sources, options, read)


def read_tar(source: Source, options: Options, read: Open) -> Found:
    """The table in the files of a TAR archive, packed or not."""
    unpacking = Unpacking(options.unpacked_limit)
    sources: list[Source] = []
    try:
        with source.open() as packed, tarfile.open(fileobj=packed, mode="r:*") as archive:
            for item in archive:
                if not item.isreg() or not _counts(item.name):
                    continue
                _check_count(len(sources) + 1)
                member = archive.extractfile(item)
                assert member is not None
                sources.append(unpacking.store(member, f"The member {item.name!r}"))
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise Refused(f"{source.name} can't be unpacked: {error}", "ValueError") from None
    return _joined(sorted(sources, key=lambda found: found.name), options, read)


def _counts(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return "__MACOSX" not in parts and not parts[-1].startswith((".", "_"))


def _check_count(count: int) -> None:
    if count > _MEMBERS:
        raise Refused(f"The archive holds more than {_MEMBERS} files.", "ValueError")


def _joined(sources: list[Source], options: Options, read: Open) -> Found:
    tables = [(source, read(source, options)) for source in sources if source.size]
    if not tables:
        raise Refused("The archive holds no file with data.", "ValueError")
    first = arrow_types.plain_schema(tables[0][1].schema)
    schema = _merged(tables, options.merge_schemas, first)
    batches = (_fitted(batch, found, schema) for _, found in tables for batch in found.batches)
    return Found(schema, batches, tables[0][1].inspected | {"files": len(tables)})


def _merged(tables: list[tuple[Source, Found]], merge: bool, first: "pyarrow.Schema") -> "pyarrow.Schema":
    import pyarrow

    schemas = [arrow_types.plain_schema(found.schema) for _, found in tables]
    for (source, _), schema in zip(tables, schemas, strict=True):
        if not merge and schema.names != first.names:
            raise Refused(
                f"{source.name} has other columns than {tables[0][0].name[:1].lower()}{tables[0][0].name[1:]}. Set "
                "mergeFileSchemas to put them into one table, with nulls where a file lacks a column.",
                "ValueError",
            )
    try:
        return pyarrow.unify_schemas(schemas, promote_options="permissive")
    except pyarrow.ArrowException as error:
        raise Refused(f"The files of the archive have columns of types that don't fit: {error}", "ValueError") from None


def _fitted(batch: "pyarrow.RecordBatch", found: Found, schema: "pyarrow.Schema") -> "pyarrow.RecordBatch":
    import pyarrow

    own = arrow_types.plain_schema(found.schema)
    columns: dict[str, Any] = dict(zip(own.names, arrow_types.convert(batch, own).columns, strict=True))
    arrays = [
        columns[field.name] if field.name in columns else pyarrow.nulls(batch.num_rows, field.type) for field in schema
    ]
    return pyarrow.RecordBatch.from_arrays(arrays, names=schema.names)

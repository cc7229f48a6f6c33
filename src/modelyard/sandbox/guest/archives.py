"""GZ, ZIP and TAR: unpacked into the working directory, then read as what is inside.

No name from an archive ever becomes a path: members go to files whose names are numbers. Only regular files count,
hidden ones (`__MACOSX/`, `._x`, `_SUCCESS`) do not, and what is unpacked in all has a limit. Several members make one
table, in the order of their names, if they have the same columns or `mergeFileSchemas` is set.
"""

import contextlib
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from . import arrow_types
from .failures import Refused
from .uploads import Found, Options, Source

if TYPE_CHECKING:
    import pyarrow

Open = Callable[[Source, Options], Found]
#: Where what was unpacked lies, relative to the working directory.
_FOLDER = ".modelyard/unpacked"
_MEMBERS = 10_000
_CHUNK = 1024**2
#: Bytes that the list of files at the end of a ZIP archive may have; it is read as a whole.
_DIRECTORY_BYTES = 10 * 1024**2


class Member(NamedTuple):
    """A file that was unpacked: where it lies under a name of ours, and what it is called in messages."""

    path: str
    name: str

    @contextlib.contextmanager
    def opened(self) -> Iterator[Source]:
        """The file, open as long as the block lasts: an archive may hold more files than can be open at once."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            yield Source.of(descriptor, self.name)
        finally:
            os.close(descriptor)


class Unpacking:
    """Counts what all archives of one upload unpack to."""

    def __init__(self, limit: int) -> None:
        self._left = self._limit = limit
        os.makedirs(_FOLDER, exist_ok=True)
        self._folder = tempfile.mkdtemp(dir=_FOLDER)
        self._count = 0

    def store(self, packed: IO[bytes], name: str) -> Member:
        """What `packed` gives, as a file whose name nobody chose."""
        self._count += 1
        path = f"{self._folder}/{self._count}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            self._copy(packed, descriptor)
        finally:
            os.close(descriptor)
        return Member(path, name)

    def _copy(self, packed: IO[bytes], descriptor: int) -> None:
        while chunk := packed.read(_CHUNK):
            self._left -= len(chunk)
            if self._left < 0:
                raise Refused(f"The archive unpacks to more than {self._limit} bytes.", "ValueError")
            view = memoryview(chunk)
            while view:
                view = view[os.write(descriptor, view) :]


def read_gzip(source: Source, options: Options, read: Open) -> Found:
    """What is inside a file packed by gzip."""
    import gzip

    unpacking = Unpacking(options.unpacked_limit)
    try:
        with source.open() as packed, gzip.GzipFile(fileobj=packed) as unpacked:
            inner = unpacking.store(unpacked, source.name)  # type: ignore[arg-type]  # reads bytes
    except (OSError, EOFError, zlib.error) as error:
        raise Refused(f"{source.name} can't be unpacked: {error}", "ValueError") from None
    descriptor = os.open(inner.path, os.O_RDONLY)
    os.unlink(inner.path)
    return read(Source.of(descriptor, inner.name), options)


def read_zip(source: Source, options: Options, read: Open) -> Found:
    """The table in the files of a ZIP archive."""
    unpacking = Unpacking(options.unpacked_limit)
    check_directory(source)
    try:
        with source.open() as packed, zipfile.ZipFile(packed) as archive:
            members = [item for item in archive.infolist() if not item.is_dir() and _counts(item.filename)]
            _check_count(len(members))
            found = []
            for item in sorted(members, key=lambda item: item.filename):
                with archive.open(item) as member:
                    found.append(unpacking.store(member, f"The member {item.filename!r}"))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, zlib.error) as error:
        raise Refused(f"{source.name} can't be unpacked: {error}", "ValueError") from None
    return _joined(found, options, read)


def check_directory(source: Source) -> None:
    """Raises where the list of files of a ZIP archive is longer than any honest one, before anybody reads it."""
    begin = max(source.size - 2**16 - 100, 0)
    tail = os.pread(source.descriptor, source.size - begin, begin)
    at, wide = tail.rfind(b"PK\x05\x06"), tail.rfind(b"PK\x06\x06")
    sizes = [int.from_bytes(tail[at + 12 : at + 16], "little")] if at >= 0 else []
    if wide >= 0:
        sizes = [size for size in sizes if size != 2**32 - 1] + [int.from_bytes(tail[wide + 40 : wide + 48], "little")]
    if any(size > _DIRECTORY_BYTES for size in sizes):
        raise Refused(
            f"The archive's list of files has {max(sizes):,} bytes; {_DIRECTORY_BYTES:,} at most are read, and "
            f"{_MEMBERS:,} files.",
            "ValueError",
        )


def read_tar(source: Source, options: Options, read: Open) -> Found:
    """The table in the files of a TAR archive, packed or not."""
    unpacking = Unpacking(options.unpacked_limit)
    members: list[Member] = []
    try:
        with source.open() as packed, tarfile.open(fileobj=packed, mode="r:*") as archive:
            for item in archive:
                if not item.isreg() or not _counts(item.name):
                    continue
                _check_count(len(members) + 1)
                member = archive.extractfile(item)
                assert member is not None
                members.append(unpacking.store(member, f"The member {item.name!r}"))
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise Refused(f"{source.name} can't be unpacked: {error}", "ValueError") from None
    return _joined(sorted(members, key=lambda member: member.name), options, read)


def _counts(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return "__MACOSX" not in parts and not parts[-1].startswith((".", "_"))


def _check_count(count: int) -> None:
    if count > _MEMBERS:
        raise Refused(f"The archive holds more than {_MEMBERS} files.", "ValueError")


def _joined(members: list[Member], options: Options, read: Open) -> Found:
    """The rows of the members, one after the other: each is opened for its columns, and again for its rows."""
    full = [member for member in members if os.path.getsize(member.path)]
    if not full:
        raise Refused("The archive holds no file with data.", "ValueError")
    schemas, inspected = [], dict[str, Any]()
    for member in full:
        with member.opened() as source:
            found = read(source, options)
            schemas.append(arrow_types.plain_schema(found.schema))
            inspected = inspected or found.inspected
    schema = _merged([member.name for member in full], schemas, merge=options.merge_schemas)
    return Found(schema, _rows(full, options, read, schema), inspected | {"files": len(full)})


def _rows(
    members: list[Member], options: Options, read: Open, schema: "pyarrow.Schema"
) -> "Iterator[pyarrow.RecordBatch]":
    for member in members:
        with member.opened() as source:
            found = read(source, options)
            for batch in found.batches:
                yield _fitted(batch, found, schema)
        os.unlink(member.path)


def _merged(names: list[str], schemas: "list[pyarrow.Schema]", *, merge: bool) -> "pyarrow.Schema":
    import pyarrow

    for name, schema in zip(names, schemas, strict=True):
        if not merge and schema.names != schemas[0].names:
            raise Refused(
                f"{name} has other columns than {names[0][:1].lower()}{names[0][1:]}. Set mergeFileSchemas to put them "
                "into one table, with nulls where a file lacks a column.",
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

"""The agent's half of an import: the bytes in one piece to a guest, a table back.

The host never looks into the bytes; `arrivals` takes the table that comes back.
"""

import contextlib
import os
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from modelyard.datasets.arrivals import BadTable, collect_table
from modelyard.datasets.fetching import Arrived
from modelyard.datasets.reading import FileFormat, Reading
from modelyard.environments import EnvironmentFailure, Environments
from modelyard.execution import Permanent, Retry, RunContext
from modelyard.ids import Digest
from modelyard.sandbox import Guest, GuestError, GuestNotStarted, Limits, Sandbox, SandboxUnavailable
from modelyard.sandbox.failures import FailureKind
from modelyard.settings import Settings
from modelyard.storage import BlobStore, Table

_GIB = 1024**3
_COPY_BYTES = 64 * 1024**2
#: A file from this size on is read with cores that others leave idle; below it a warm guest begins sooner.
_LARGE_BYTES = 64 * 1024**2
#: More bring nothing: one thread of the reader writes.
_MOST_CORES = 4
#: Formats that readers map or stream; all others need a file that can be opened again by name.
_BY_DESCRIPTOR = (FileFormat.PARQUET, FileFormat.ORC, FileFormat.AVRO, FileFormat.GZ, FileFormat.ZIP, FileFormat.TAR)


class ImportFailed(Exception):
    """The bytes are no table; the message is for whoever sent them."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The table that the bytes became, and what the reader noticed."""

    table: Table
    inspected: dict[str, Any]


def import_bytes(run: RunContext, blobs: Sequence[Digest], size: int, reading: Reading) -> Imported:
    """Reads the blobs, one after the other one file, as a table. ImportFailed says why that can't be."""
    return import_files(run, [Arrived("bytes", tuple(blobs), size)], reading)


def import_files(run: RunContext, files: Sequence[Arrived], reading: Reading) -> Imported:
    """Reads the files, several of them as one archive, as a table. ImportFailed says why that can't be."""
    size = sum(file.size for file in files)
    limits = Limits(
        cores=run.claim.cores if size < _LARGE_BYTES else max(run.claim.cores, min(_MOST_CORES, _cores(run.settings))),
        memory_gib=run.claim.memory_gib,
        timeout_s=run.settings.materialization_timeout_s,
        processes=run.settings.guest_processes,
        scratch_gib=max(run.settings.scratch_gib, 2 + 8 * size / _GIB),
    )
    message: dict[str, Any] = {
        "format": reading.format,
        "delimiter": reading.delimiter,
        "escape": reading.escape,
        "merge_schemas": reading.merge_schemas,
        "sheet": reading.sheet,
        "column_types": reading.column_types,
        "memory_gib": limits.memory_gib,
        "scratch_gib": limits.scratch_gib,
        "threads": limits.threads,
    }
    if files[0].database is not None:
        message["database"] = dict(zip(("service", "sql"), files[0].database, strict=True))
    try:
        base = run.parts.get(Environments).base()
        with base.hold(), _joined(run, files, reading) as descriptor:
            outcome = run.parts.get(Sandbox).run(
                base.interpreter, limits, "import_table", message, fds=[descriptor], on_output=run.log,
                cancelled=run.cancelled, collect=lambda guest, result: _collect(run, guest, result), name="import",
            )  # fmt: skip
    except SandboxUnavailable as error:
        raise Permanent(str(error)) from error
    except GuestNotStarted as error:
        raise Retry(f"a guest could not be started: {error}") from error
    except EnvironmentFailure as error:
        raise (Retry(str(error)) if error.temporary else Permanent(str(error))) from error
    except BadTable as error:
        raise ImportFailed(f"The file could not be read: {error}") from error
    if outcome.error is not None or outcome.collected is None:
        run.check_cancelled()
        if outcome.error is not None and outcome.error.was_killed:
            raise Retry(_sentence(outcome.error, limits))
        raise ImportFailed(_sentence(outcome.error, limits))
    return outcome.collected


def _cores(settings: Settings) -> float:
    return settings.agent_cores or float(os.cpu_count() or 1)


def _sentence(error: GuestError | None, limits: Limits) -> str:
    if error is None:
        return "The file could not be read: there is no table."
    if error.kind == FailureKind.MEMORY:
        return (
            f"Reading the file needs more than {limits.memory_gib:g} GiB of memory. Rows come in pieces: smaller row "
            "groups, files or sheets need less."
        )
    if error.kind == FailureKind.SIGNAL:
        return (
            f"The file could not be read: {error.sentence} Readers end like this where a file asks for memory that no "
            "machine has, such as a sheet whose cells lie far apart."
        )
    if error.kind == FailureKind.TIMEOUT:
        return f"Reading the file took longer than {limits.timeout_s:g} seconds (materialization_timeout_s)."
    if error.kind == FailureKind.EXCEPTION and error.type == "ValueError":
        return error.value
    return f"The file could not be read: {error.sentence}"


@contextlib.contextmanager
def _joined(run: RunContext, files: Sequence[Arrived], reading: Reading) -> Iterator[int]:
    """A descriptor of the whole file, for reading. A file without a name, so nothing of it outlives us."""
    store = run.parts.get(BlobStore)
    if len(files) == len(files[0].blobs) == 1 and reading.format in _BY_DESCRIPTOR:
        with store.open(files[0].blobs[0]) as stream:
            yield stream.fileno()
        return
    folder = run.settings.home / "joining"
    folder.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as whole:
        if len(files) == 1:
            _append(run, files[0], whole)
        else:
            _pack(run, files, whole)
        whole.flush()
        os.fchmod(whole.fileno(), 0o444)  # the guest is another user, and opens it again for reading
        descriptor = os.open(f"/proc/self/fd/{whole.fileno()}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _append(run: RunContext, file: Arrived, whole: IO[bytes]) -> None:
    for digest in file.blobs:
        run.check_cancelled()
        with run.parts.get(BlobStore).open(digest) as part:
            left = os.fstat(part.fileno()).st_size
            while left:  # the kernel copies, without the bytes' coming by here; some file systems only make a note
                left -= (copied := os.copy_file_range(part.fileno(), whole.fileno(), min(left, _COPY_BYTES)))
                if not copied:
                    raise OSError("a blob ended early")


def _pack(run: RunContext, files: Sequence[Arrived], whole: IO[bytes]) -> None:
    """Several files as one: an archive without compression, whose members the guest reads one by one."""
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in files:
            run.check_cancelled()
            entry = tarfile.TarInfo(file.name)
            entry.size = file.size
            with run.parts.get(BlobStore).open(file.blobs[0]) as stream:
                archive.addfile(entry, stream)


def _collect(run: RunContext, guest: Guest, result: dict[str, Any]) -> Imported:
    inspected = result.get("inspected")
    table = collect_table(run.parts, run.settings, guest, result)
    return Imported(table, inspected if isinstance(inspected, dict) else {})

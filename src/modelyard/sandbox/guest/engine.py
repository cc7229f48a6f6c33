"""DuckDB inside a guest: one connection, in memory, with limits and without any way out.

Imports read the one file that they were handed; for SQL the file system is shut and the configuration locked. The walls
around the guest would hold without this; it makes the refusal a clear sentence, and two walls are better than one.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

#: Where DuckDB puts what does not fit into memory, relative to the working directory.
SPILL = ".modelyard/spill"
_BATCH_BYTES = 32 * 1024**2
_FRUGAL_MIB = 100
_FOR_FILES: list[Any] = []
_SHUT = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "python_scan_all_frames": "false",
}


def connect(message: dict[str, Any], *, shut: bool) -> Any:
    """A connection within the message's memory_gib, scratch_gib and threads; `shut` closes the file system to it."""
    import duckdb

    os.makedirs(SPILL, exist_ok=True)
    limits = {
        "memory_limit": f"{_memory_mib(message)}MiB",
        "max_temp_directory_size": f"{max(int(float(message.get('scratch_gib', 10)) * 500), 100)}MiB",
        "threads": str(max(int(message.get("threads", 1)), 1)),
        "temp_directory": os.path.abspath(SPILL),
    }
    connection = duckdb.connect(":memory:", config=limits)
    for name, value in _SHUT.items() if shut else ():
        # After the limits: once the file system is shut, the spill folder can't be named any more.
        connection.execute(f"SET {name} = {value}")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    return connection


def _memory_mib(message: dict[str, Any]) -> int:
    return max(int(float(message.get("memory_gib", 1)) * 600), 100)


def for_files(limits: dict[str, Any], *, frugal: bool = False) -> Any:
    """A connection that reads files, to the one engine of this guest: to start one takes longer than a small file.

    With several threads DuckDB's reader of CSV keeps a part of what it has read until it is told to do with less; so
    the `frugal` get a limit that does not grow with the file.
    """
    if not _FOR_FILES:
        _FOR_FILES.append(connect(limits, shut=False))
    connection = _FOR_FILES[0].cursor()
    connection.execute("SET TimeZone = 'UTC'")
    usual = _memory_mib(limits)
    connection.execute(f"SET memory_limit = '{min(usual, _FRUGAL_MIB) if frugal else usual}MiB'")
    return connection


def lock(connection: Any) -> None:
    """From now on no statement changes the configuration."""
    connection.execute("SET lock_configuration = true")


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def rows_a_batch(columns: int) -> int:
    """How many rows of so many columns make a batch of reasonable size."""
    return max(2048, min(131_072, _BATCH_BYTES // (16 * max(columns, 1))))


def reader(relation: Any) -> "pyarrow.RecordBatchReader":
    """The relation's rows as Arrow batches."""
    return relation.to_arrow_reader(rows_a_batch(len(relation.columns)))


def exotic(relation: Any) -> dict[str, str]:
    """Columns of types that have no plain form at rest, and the expression that gives them one."""
    found = {}
    for name, kind in zip(relation.columns, relation.types, strict=True):
        identifier = str(kind.id)
        column = quoted(name)
        if identifier == "json" or str(kind) == "JSON":
            found[name] = f"{column} ->> '$'"  # text as it is, everything else as JSON text
        elif identifier in ("interval", "bit", "time with time zone", "union", "variant", "bignum", "geometry"):
            found[name] = f"CAST({column} AS VARCHAR)"
    return found


def replaced(relation: Any, expressions: dict[str, str]) -> Any:
    """The relation with some columns computed anew under their old names."""
    if not expressions:
        return relation
    columns = [
        f"{expressions[name]} AS {quoted(name)}" if name in expressions else quoted(name) for name in relation.columns
    ]
    return relation.project(", ".join(columns))

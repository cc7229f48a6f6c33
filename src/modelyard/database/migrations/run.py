"""Brings a database to the newest revision; called at every start.

Several processes may start at once: PostgreSQL's advisory lock or SQLite's write lock lets one of them migrate and
the others find it done.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text

HERE = Path(__file__).parent
#: Any number, the same in every process, that names our lock among PostgreSQL's advisory locks.
LOCK = 7_316_001


def configuration(connection: Connection) -> Config:
    """Alembic's configuration for one open connection, without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(HERE))
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine) -> None:
    """Upgrades to the newest revision in one transaction."""
    with engine.connect().execution_options(write=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        command.upgrade(configuration(connection), "head")

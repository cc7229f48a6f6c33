"""Writes a revision from what the records say and the newest revision lacks: `python -m ...generate "what changed"`.

With `--initial` the first revision is written anew; only allowed as long as nothing has been released.
"""

import importlib
import pkgutil
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import ops
from sqlalchemy import Column, Connection

import modelyard
from modelyard.database.engine import Database
from modelyard.database.migrations.run import HERE, configuration
from modelyard.database.records import Record


def import_records() -> None:
    """Imports every slice's `records.py`, so that the metadata is whole."""
    for room in pkgutil.iter_modules(modelyard.__path__):
        if room.ispkg and (Path(modelyard.__path__[0]) / room.name / "records.py").exists():
            importlib.import_module(f"modelyard.{room.name}.records")


def differences(connection: Connection) -> list[object]:
    """What the records say and the database lacks; empty when they agree."""
    import_records()
    return list(compare_metadata(MigrationContext.configure(connection), Record.metadata))


def main(arguments: list[str]) -> None:
    """Writes the revision into `versions/`."""
    initial = arguments == ["--initial"]
    import_records()
    if initial:
        for old in (HERE / "versions").glob("0*.py"):
            old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'empty.db'}")
        if not initial:
            database.migrate()
        number = len(list((HERE / "versions").glob("0*.py"))) + 1
        with database.engine.connect() as connection:
            message = "initial schema" if initial else " ".join(arguments)
            command.revision(
                configuration(connection),
                message=message,
                autogenerate=True,
                rev_id=f"{number:04d}",
                process_revision_directives=add_expression_indexes,
            )


def add_expression_indexes(_context: MigrationContext, _revision: object, scripts: list[ops.MigrationScript]) -> None:
    """Adds the indexes over expressions of tables that are made: Alembic, which can't compare them, leaves them out."""
    upgrade = scripts[0].upgrade_ops
    assert upgrade is not None
    made = [Record.metadata.tables[each.table_name] for each in upgrade.ops if isinstance(each, ops.CreateTableOp)]
    upgrade.ops += [
        ops.CreateIndexOp.from_index(index)
        for table in made
        for index in sorted(table.indexes, key=lambda index: str(index.name))
        if any(not isinstance(each, Column) for each in index.expressions)
    ]


if __name__ == "__main__":
    main(sys.argv[1:])

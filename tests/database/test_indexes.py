"""Indexes that the records name are there in a database that migrations made."""

from sqlalchemy import inspect, text

from modelyard.database import Database, Record
from modelyard.database.migrations.generate import import_records


def test_every_index_of_the_records_is_made_by_a_migration(database: Database) -> None:
    import_records()
    wanted = {(name, str(index.name)) for name, table in Record.metadata.tables.items() for index in table.indexes}
    names = {
        "sqlite": "SELECT tbl_name, name FROM sqlite_master WHERE type = 'index'",
        "postgresql": "SELECT tablename, indexname FROM pg_indexes",
    }
    with database.read() as session:
        there = {(table, name) for table, name in session.execute(text(names[database.engine.dialect.name]))}
    assert wanted <= there
    assert ("feature_groups", "ix_feature_groups_named") in there
    assert inspect(database.engine).has_table("feature_group_words")

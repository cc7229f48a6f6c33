"""The fixtures that all other tests stand on."""

from pathlib import Path

import sqlalchemy as sa


def test_home_leaves_room_for_a_socket_path(home: Path) -> None:
    assert home.is_dir()
    assert len(str(home)) < 40


def test_each_test_gets_an_empty_database_that_takes_tables(database_url: str) -> None:
    engine = sa.create_engine(database_url)
    assert sa.inspect(engine).get_table_names() == []
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE things (id INTEGER PRIMARY KEY)"))
    assert sa.inspect(engine).get_table_names() == ["things"]
    engine.dispose()


def test_a_second_test_finds_its_database_empty_again(database_url: str) -> None:
    test_each_test_gets_an_empty_database_that_takes_tables(database_url)

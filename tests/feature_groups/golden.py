"""What a golden query is, and the small tables that all of them read."""

from typing import Any, NamedTuple

#: Table -> its columns (with the engine's types) and rows.
TABLES: dict[str, tuple[dict[str, str], list[tuple[Any, ...]]]] = {
    "events": (
        {"id": "BIGINT", "customer": "VARCHAR", "amount": "DOUBLE", "day": "DATE", "at": "TIMESTAMP"},
        [
            (1, "ann", 10.0, "2024-01-01", "2024-01-01 10:30:00"),
            (2, "ann", 20.5, "2024-01-31", "2024-01-31 23:59:59"),
            (3, "bob", None, "2024-03-01", "2024-03-01 00:00:00"),
            (4, None, 7.0, "2023-06-15", None),
        ],
    ),
    "customers": (
        {"customer": "VARCHAR", "Country": "VARCHAR", "tags": "VARCHAR"},
        [("ann", "FR", "a,b"), ("bob", None, ""), ("cyd", "DE", "c")],
    ),
    "sales": (
        {
            "shop": "VARCHAR",
            "year": "INTEGER",
            "product": "VARCHAR",
            "price": "DECIMAL",
            "n": "INTEGER",
            "ok": "BOOLEAN",
        },
        [
            ("A", 2023, "tea", "2.50", 4, True),
            ("A", 2024, "tea", "2.75", 6, True),
            ("A", 2024, "jam", "5.00", 1, False),
            ("B", 2023, "jam", "4.50", 2, None),
            ("B", 2024, "tea", "3.00", None, True),
            ("C", 2024, None, "1.25", -3, False),
        ],
    ),
    "empty_table": ({"id": "BIGINT", "name": "VARCHAR"}, []),
}


class Golden(NamedTuple):
    """A query and its rows; dates are ISO text, and rows come in the query's own order."""

    name: str
    query: str
    rows: list[tuple[Any, ...]]

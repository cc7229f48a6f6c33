"""First pages of lists in houses with 1,000, 10,000 and 100,000 feature groups: does a page cost the same in each?

Rows are written into the database as the platform writes them: a third each of datasets' groups, SQL groups that read
one of these, and SQL groups that read such a one; each with a complete version of twelve columns. Then one caller asks
the real gateway, action after action, on SQLite and on PostgreSQL. The group that is described and the one whose
versions are listed stand at the end of a chain of 200.
"""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import insert, select, text

from benchmarks.house import House
from benchmarks.measure import Options, Row, at_most, percentile
from benchmarks.postgresql import each_database
from modelyard.accounts.records import Organization
from modelyard.clock import utc_now
from modelyard.database import Database
from modelyard.datasets.records import Dataset, DatasetVersion
from modelyard.feature_groups.definition import Definition, Input
from modelyard.feature_groups.records import FeatureGroup, FeatureGroupInput, FeatureGroupVersion
from modelyard.feature_groups.versions import to_json
from modelyard.feature_groups.words import add_words, group_words
from modelyard.storage import Table, TableColumn, TablePart

SIZES = (1_000, 10_000, 100_000)
#: Milliseconds that half of all first pages may take.
BUDGET_MS = 20
CALLS = 30
CHAIN = 200
_COLUMNS = tuple(TableColumn(f"column_{at}", "double", True) for at in range(12))


def run(options: Options) -> Iterator[Row]:
    """SQLite, then PostgreSQL where the wheel with its server is installed."""
    sizes = [size for size in SIZES if size <= max(options.rows // 100, SIZES[0])]
    for name, url in each_database():
        yield from _measured(name, url, sizes)


def _measured(name: str, url: str | None, sizes: list[int]) -> Iterator[Row]:
    with House(warm_guests=0, **({"database_url": url} if url else {})) as house:
        database = Database(url or f"sqlite:///{house.home / 'modelyard.db'}")
        there = 0
        for size in sizes:
            last = _fill(database, there, size)
            there = size
            _analyze(database)
            for what, parameters in _ASKED.items():
                given = {key: value.format(last=last) for key, value in parameters.items()}
                took = sorted(_milliseconds(house, what, given) for _ in range(CALLS))
                yield at_most(f"{what}, {size:,} groups, {name}, p50", percentile(took, 0.5), BUDGET_MS, "ms")
        database.close()


_ASKED: dict[str, dict[str, str]] = {
    "listFeatureGroups": {},
    "listDatasets": {},
    "listFeatureGroupVersions": {"featureGroupId": "{last}"},
    "describeFeatureGroup": {"featureGroupId": "{last}"},
    "searchFeatureGroups": {"text": "clicks of february", "numResults": "10"},
}


def _analyze(database: Database) -> None:
    """Lets the planner see what was written, as both databases do by themselves in time."""
    with database.write() as session:
        session.execute(text("ANALYZE"))


def _milliseconds(house: House, what: str, parameters: dict[str, str]) -> float:
    start = time.perf_counter()
    house.call(what, **parameters)
    return (time.perf_counter() - start) * 1000


def _fill(database: Database, begin: int, end: int) -> str:
    """Groups `begin` to `end`; gives the id of one at the end of a chain of `CHAIN`."""
    with database.read() as session:
        organization_id = session.scalars(select(Organization.organization_id)).one()
    for start in range(begin, end, 5_000):
        numbers = range(start, min(start + 5_000, end))
        with database.write() as session:
            rows = [_rows(organization_id, number) for number in numbers]
            datasets = [row[0] for row in rows if row[0]]
            if datasets:
                session.execute(insert(Dataset), datasets)
                session.execute(insert(DatasetVersion), [row[1] for row in rows if row[1]])
            session.execute(insert(FeatureGroup), [row[2] for row in rows])
            columns = [column.name for column in _COLUMNS]
            words = {row[2]["feature_group_id"]: group_words(row[2]["table_name"], (), None, columns) for row in rows}
            add_words(session.connection(), organization_id, words)
            session.execute(insert(FeatureGroupVersion), [row[3] for row in rows])
            session.execute(insert(FeatureGroupInput), [row[4] for row in rows if row[4]])
    return _id("g", CHAIN - 1)


def _id(kind: str, number: int) -> str:
    return f"{kind}{number:09}"


def _rows(organization_id: str, number: int) -> list[dict[str, Any]]:
    """The dataset and its version (or nothing), the group, its version, what it reads (or nothing)."""
    now = utc_now() - timedelta(days=1) + timedelta(milliseconds=number)
    parent = number - 1 if (number < CHAIN and number) or number % 3 else None
    dataset_id = _id("d", number) if parent is None else None
    inputs = () if parent is None else (Input(_id("g", parent), _name(parent)),)  # type: ignore[arg-type]
    sql = None if parent is None else f"SELECT * FROM {_name(parent)}"
    definition = Definition(inputs=inputs, sql=sql, engine_sql=sql, dataset_id=dataset_id)  # type: ignore[arg-type]
    table = to_json(Table((TablePart("0" * 64, 10, 1000),), _COLUMNS, 10, 1000))  # type: ignore[arg-type]
    made = {"organization_id": organization_id, "created_at": now}
    kept = {"definition": to_json(definition), "definition_digest": definition.digest}
    group = made | kept | {
        "feature_group_id": _id("g", number), "table_name": _name(number), "updated_at": now,
        "source_type": "DATASET" if dataset_id else "SQL", "dataset_id": dataset_id, "use_gpu": False,
        "use_original_csv_names": False, "version_limit": 30, "tags": [], "feature_tags": {}, "feature_types": {},
        "is_locked": False, "last_version_number": 1,
    }  # fmt: skip
    version = made | kept | {
        "feature_group_version": _id("v", number), "feature_group_id": _id("g", number), "number": 1,
        "status": "COMPLETE", "use_gpu": False, "pins": {}, "table": table, "started_at": now, "completed_at": now,
        "parents": {} if parent is None else {_id("g", parent): _id("v", parent)},
    }  # fmt: skip
    edge: dict[str, object] = (
        {} if parent is None else {"feature_group_id": _id("g", number), "parent_id": _id("g", parent)}
    )
    if dataset_id is None:
        return [{}, {}, group, version, edge]
    dataset = made | {
        "dataset_id": dataset_id, "feature_group_table_name": _name(number), "source_type": "UPLOAD", "reading": {},
        "version_limit": 30,
    }  # fmt: skip
    dataset_version = made | {
        "dataset_version": _id("w", number), "dataset_id": dataset_id, "status": "COMPLETE", "table": table,
        "reading": {}, "size": 1000, "row_count": 10,
    }  # fmt: skip
    return [dataset, dataset_version, group, version, edge]


def _name(number: int) -> str:
    subject, month = ("clicks", "orders", "visits")[number % 3], ("january", "february", "march")[number % 7 % 3]
    return f"{subject}_of_{month}_{number}"

"""Asks Apache Spark itself for the rows of every golden query: `python -m tests.feature_groups.spark`.

Not part of the suite: it needs `pyspark` and Java, which nothing else here does. Prints the queries whose rows differ.
"""

# mypy: ignore-errors

import datetime
import decimal

from tests.feature_groups.golden import TABLES
from tests.feature_groups.golden_sql import QUERIES


def main() -> None:
    """Compares; Spark's rows are right, unless a query is written for another dialect's function."""
    from pyspark.sql import SparkSession

    settings = {
        "spark.sql.ansi.enabled": "false", "spark.sql.session.timeZone": "UTC", "spark.sql.shuffle.partitions": "1",
        "spark.ui.enabled": "false",
    }  # fmt: skip
    builder = SparkSession.builder.master("local[1]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    for name, (columns, rows) in TABLES.items():
        kinds = {"VARCHAR": "STRING", "INTEGER": "INT", "DECIMAL": "DECIMAL(10, 2)"}
        schema = ", ".join(f"`{column}` {kinds.get(kind, kind)}" for column, kind in columns.items())
        values = [tuple(map(_value, columns.values(), row)) for row in rows]
        session.createDataFrame(values, schema).createOrReplaceTempView(name)
    for golden in QUERIES:
        try:
            found = [tuple(map(_plain, row)) for row in session.sql(golden.query).collect()]
        except Exception as error:  # noqa: BLE001 - any of Spark's own
            found = str(error).splitlines()[0]
        if found != golden.rows:
            print(f"{golden.name}: {golden.query}\n  here  {golden.rows}\n  Spark {found}")


def _value(kind, value):
    read = {"DATE": datetime.date.fromisoformat, "TIMESTAMP": datetime.datetime.fromisoformat}
    read["DECIMAL"] = decimal.Decimal
    return read[kind](value) if kind in read and value is not None else value


def _plain(value):
    if isinstance(value, datetime.date | datetime.datetime):
        return value.isoformat()
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return float(value) if isinstance(value, decimal.Decimal) else value


if __name__ == "__main__":
    main()

"""Rows of datasets, sent with one call, through the queries that lead to the model's table. Used by `replica`.

A recipe comes from the host: the datasets with their columns, and queries in DuckDB's dialect, each over what came
before it. The values of a call take the types that the columns had in the training.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import engine, spark_macros
from .replies import BadRequest

if TYPE_CHECKING:
    import pyarrow

#: Of DuckDB's memory, in GiB, and threads: calls are small.
_LIMITS = {"memory_gib": 1, "scratch_gib": 1, "threads": 1}


class Recipe:
    """How rows of datasets become rows of the model's table."""

    def __init__(self, message: Mapping[str, Any] | None) -> None:
        self._message = message or {"reason": "The model was deployed without a way from datasets to its table."}

    def rows(self, query: Any) -> list[dict[str, Any]]:
        """The rows of the model's table, were the datasets those of `query` (name or id -> rows)."""
        if "reason" in self._message:
            raise BadRequest(
                f"predictFromDatasets can't be answered: {self._message['reason']}", "InvalidParameterError"
            )
        tables = self._tables(query)
        for step in self._message["steps"]:
            inputs = {name: tables[source] for name, source in step["inputs"].items()}
            tables[step["name"]] = _selected(step, inputs)
        rows: list[dict[str, Any]] = tables[self._message["table"]].to_pylist()
        return rows

    def _tables(self, query: Any) -> "dict[str, pyarrow.Table]":
        given = query if isinstance(query, dict) else None
        datasets = self._message["datasets"]
        names = ", ".join(each["name"] for each in datasets)
        if given is None or not all(isinstance(rows, list) for rows in given.values()):
            raise _refused(f"queryData must map datasets to lists of rows; the model reads {names}")
        known = {key for each in datasets for key in (each["name"], each["id"])}
        if unknown := [name for name in given if name not in known]:
            raise _refused(f"queryData names {unknown[0]!r}, which the model does not read; it reads {names}")
        found = {}
        for each in datasets:
            rows = given.get(each["name"], given.get(each["id"]))
            if rows is None:
                raise _refused(f"queryData has no rows for dataset {each['name']}; the model reads {names}")
            found[each["name"]] = _table(each["name"], each["columns"], rows)
        return found


def _table(dataset: str, columns: list[list[str]], rows: list[Any]) -> "pyarrow.Table":
    import pyarrow

    names = {name for name, _ in columns}
    for row in rows:
        if not isinstance(row, dict):
            raise _refused(f"The rows of dataset {dataset} must be objects, column -> value")
        if unknown := [name for name in row if name not in names]:
            raise _refused(f"Dataset {dataset} has no column {unknown[0]!r}; it has {', '.join(sorted(names))}")
    arrays = [_column(dataset, name, kind, [row.get(name) for row in rows]) for name, kind in columns]
    return pyarrow.table(arrays, names=[name for name, _ in columns])


def _column(dataset: str, name: str, kind: str, values: list[Any]) -> "pyarrow.Array":
    import pyarrow

    try:
        wanted = _type(kind)
        if wanted is None:
            return pyarrow.array(values)
        try:
            return pyarrow.array(values, wanted)
        except (pyarrow.ArrowException, TypeError):
            return pyarrow.array(values).cast(wanted)
    except (pyarrow.ArrowException, TypeError, OverflowError, ValueError) as error:
        raise _refused(f"Column {name!r} of dataset {dataset} is of type {kind}: {error}") from None


def _type(kind: str) -> Any:
    """Arrow's type of that name; None for one that has parts, whose values are taken as they are."""
    import pyarrow

    try:
        return pyarrow.type_for_alias(kind)
    except ValueError:
        return None


def _selected(step: Mapping[str, Any], inputs: "Mapping[str, pyarrow.Table]") -> "pyarrow.Table":
    import duckdb

    connection = engine.connect(_LIMITS, shut=True)
    try:
        for name, table in inputs.items():
            connection.register(name, table)
        spark_macros.define(connection, step["query"])
        engine.lock(connection)
        found: pyarrow.Table = connection.sql(step["query"]).to_arrow_table()
        return found
    except duckdb.Error as error:
        raise _refused(f"The query of {step['name']} failed over these rows: {error}") from None
    finally:
        connection.close()


def _refused(sentence: str) -> BadRequest:
    return BadRequest(sentence, "InvalidParameterError")

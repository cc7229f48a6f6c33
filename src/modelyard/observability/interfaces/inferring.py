"""JSON schemas from what there is: values that were seen, and columns of tables."""

from collections.abc import Iterable, Sequence
from typing import Any

from modelyard.datasets.columns import data_type
from modelyard.storage import TableColumn

Schema = dict[str, Any]
#: How deep values are looked into, and how many keys of an object are told.
DEEPEST, MOST_KEYS = 6, 500
_COLUMNS: dict[str, Schema] = {
    "INTEGER": {"type": "integer"},
    "FLOAT": {"type": "number"},
    "STRING": {"type": "string"},
    "BOOLEAN": {"type": "boolean"},
    "DATE": {"type": "string", "format": "date"},
    "DATETIME": {"type": "string", "format": "date-time"},
    "LIST": {"type": "array"},
    "STRUCT": {"type": "object"},
}
#: A value of each type, for examples that nobody has called.
_VALUES: dict[str, Any] = {"integer": 1, "number": 1.5, "string": "text", "boolean": True, "array": [], "object": {}}
_FORMATS = {"date": "2026-03-01", "date-time": "2026-03-01T08:00:00"}


def of_column(column: TableColumn) -> Schema:
    """The schema of a value of that column."""
    schema = dict(_COLUMNS.get(data_type(column), {}))
    if column.nullable and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    return schema


def of_values(values: Sequence[Any], depth: int = 0) -> Schema:
    """A schema that all of these JSON values fit; {} where none is known."""
    kinds = sorted({_kind(value) for value in values})
    if "number" in kinds and "integer" in kinds:
        kinds.remove("integer")
    if not kinds or depth > DEEPEST:
        return {}
    schema: Schema = {"type": kinds[0] if len(kinds) == 1 else kinds}
    if "object" in kinds:
        schema |= _of_objects([value for value in values if isinstance(value, dict)], depth)
    if "array" in kinds:
        items = [item for value in values if isinstance(value, list) for item in value[:MOST_KEYS]]
        if found := of_values(items, depth + 1):
            schema["items"] = found
    return schema


def made_up(schema: Schema) -> Any:
    """Some value that fits the schema."""
    kinds = schema.get("type", "string")
    kind = kinds if isinstance(kinds, str) else next((each for each in kinds if each != "null"), "null")
    if kind == "object":
        return {name: made_up(each) for name, each in schema.get("properties", {}).items()}
    if kind == "array" and "items" in schema:
        return [made_up(schema["items"])]
    return _FORMATS.get(schema.get("format", ""), _VALUES.get(kind))


def _of_objects(values: Sequence[dict[str, Any]], depth: int) -> Schema:
    names = list(dict.fromkeys(name for value in values for name in value))
    if len(names) > MOST_KEYS:
        return {}  # its keys are data, not names
    properties = {name: of_values(list(_of(values, name)), depth + 1) for name in names}
    required = [name for name in names if all(name in value for value in values)]
    return {"properties": properties} | ({"required": required} if required else {})


def _of(values: Iterable[dict[str, Any]], name: str) -> Iterable[Any]:
    return (value[name] for value in values if name in value)


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    kinds = {int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return kinds.get(type(value), "string")

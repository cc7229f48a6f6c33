"""What user functions return, turned into JSON: numbers, text, lists and dicts as they are, the rest by its meaning.

numpy, pandas, polars and pyarrow values become their plain counterparts, times ISO 8601 text, what is not a number
null. An object without such a meaning is refused by its type's name; bytes are, since JSON has none.
"""

import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import math
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from .failures import Refused

_PLAIN = frozenset({str, int, float, bool, type(None)})
_ENCODE: list[Callable[[object], bytes]] = []


def to_json(value: object) -> bytes:
    """The value as JSON. Raises `failures.Refused` when it has no JSON form."""
    try:
        ready = plain(value)
    except RecursionError:
        raise Refused("The result is nested too deeply, or holds itself.", "ValueError") from None
    try:
        return _encoder()(ready)
    except (OverflowError, ValueError, TypeError):
        return _carefully(ready)


def plain(value: Any) -> Any:
    """The value with nothing in it but dicts, lists, text, numbers, booleans and None."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is dict:
        if set(map(type, value)) == {str} and _PLAIN.issuperset(map(type, value.values())):
            return value
        return {_key(key): plain(entry) for key, entry in value.items()}
    if kind in (list, tuple):
        return value if _PLAIN.issuperset(map(type, value)) else [plain(entry) for entry in value]
    return _convert(value)


def _convert(value: Any) -> Any:
    package = type(value).__module__.partition(".")[0]
    for known, convert in ((("numpy",), _numpy), (("pandas",), _pandas), (("polars", "pyarrow"), _columns)):
        if package in known:
            return convert(value)
    return _standard(value)


def _standard(value: Any) -> Any:
    """Values of the standard library, and the user's own subclasses of plain types."""
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {_key(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | deque | range):
        return [plain(entry) for entry in value]
    if isinstance(value, set | frozenset):
        return _sorted([plain(entry) for entry in value])
    for kind, convert in _SCALARS:
        if isinstance(value, kind):
            return convert(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    name = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.").removeprefix(
        "modelyard_source."
    )
    more = (
        " Decode bytes to text, or encode them with base64."
        if isinstance(value, bytes | bytearray | memoryview)
        else ""
    )
    raise Refused(
        f"The result holds an object of type {name}, which has no JSON form. Return numbers, text, lists, dicts, "
        f"arrays or tables.{more}",
        "TypeError",
    )


_SCALARS: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (bool, bool),
    (int, int),
    (float, float),
    (decimal.Decimal, lambda value: float(value) if value.is_finite() else None),
    (fractions.Fraction, float),
    (datetime.date, lambda value: value.isoformat()),  # datetime is a date
    (datetime.time, lambda value: value.isoformat()),
    (datetime.timedelta, lambda value: value.total_seconds()),
    (uuid.UUID, str),
)


def _numpy(value: Any) -> Any:
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind in ("M", "m"):
        return _times(value)
    if kind in ("c", "V", "S") or not hasattr(value, "tolist"):
        return _refuse_numpy(value, kind)
    listed = value.tolist()
    return plain(listed) if kind in ("O", "U", "") or not isinstance(listed, list) else listed


def _refuse_numpy(value: Any, kind: str) -> Any:
    if kind == "V" and getattr(value.dtype, "names", None):
        return plain([dict(zip(value.dtype.names, row, strict=True)) for row in value.tolist()])
    what = {"c": "complex numbers", "S": "bytes"}.get(kind, f"an object of type numpy.{type(value).__name__}")
    raise Refused(f"The result holds {what}, which have no JSON form.", "TypeError")


def _times(value: Any) -> Any:
    import numpy

    if value.dtype.kind == "m":
        seconds = value / numpy.timedelta64(1, "s")
        return plain(seconds.tolist())
    texts = numpy.datetime_as_string(value).tolist()
    return _without_nat(texts)


def _without_nat(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nat(entry) for entry in value]
    return None if value == "NaT" else value


def _pandas(value: Any) -> Any:
    import pandas

    if value is pandas.NA or value is pandas.NaT:
        return None
    if isinstance(value, pandas.DataFrame):
        return plain(value.to_dict("records"))
    if isinstance(value, pandas.Series):
        return plain(value.tolist() if isinstance(value.index, pandas.RangeIndex) else value.to_dict())
    if isinstance(value, pandas.Timestamp):
        return value.isoformat()
    if isinstance(value, pandas.Timedelta):
        return value.total_seconds()
    if isinstance(value, pandas.Period | pandas.Interval):
        return str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return _standard(value)


def _columns(value: Any) -> Any:
    """Tables, arrays and scalars of polars and pyarrow."""
    if type(value).__name__ == "LazyFrame":
        value = value.collect()
    for method in ("to_dicts", "to_pylist", "to_list", "as_py"):
        if hasattr(value, method):
            return plain(getattr(value, method)())
    return _standard(value)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    ready = plain(key)
    if isinstance(ready, list | tuple | dict):
        raise Refused(
            f"The result holds a dict with a key of type {type(key).__name__}; keys must be text.", "TypeError"
        )
    return ready if isinstance(ready, str) else json.dumps(ready)


def _sorted(values: list[Any]) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:
        return values


def _encoder() -> Callable[[object], bytes]:
    if not _ENCODE:
        try:
            import msgspec
        except ImportError:
            _ENCODE.append(_carefully)
        else:
            _ENCODE.append(msgspec.json.Encoder().encode)
    return _ENCODE[0]


def _carefully(value: object) -> bytes:
    """By the standard library: slower, but with whole numbers of any length."""
    try:
        return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (UnicodeEncodeError, ValueError) as error:
        raise Refused(f"The result can't be written as JSON: {error}.", "ValueError") from None


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, list | tuple) else value

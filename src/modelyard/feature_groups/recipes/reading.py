"""Groups that are made from another group by a recipe: a sample of its rows, or several of its versions together.

A recipe is read into a definition like a query's: a sample is a query that we write ourselves; which versions a merge
puts together is known when it is made, so `merging` writes that query then. Source: the SDK's SamplingConfig and
MergeConfig.
"""

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from modelyard.actions import camel
from modelyard.errors import InvalidEnumParameterError, InvalidParameterError

#: Names of the columns that a sample is drawn by, which no user's column has.
_ROW = '"modelyard row"'


class Sampling(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How many rows, or how many different values of the key columns with all their rows."""

    sampling_method: str
    sample_count: int | None = None
    #: Up to 1 a share, above 1 percent.
    sample_percent: float | None = None
    key_columns: list[str] = []
    #: Another seed draws other rows; the same one always the same.
    seed: int = 0


class Merge(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which versions, or which of all their rows."""

    merge_mode: str
    #: Newest versions to put together; 0 is all of them.
    num_versions: int | None = None
    feature_name: str | None = None
    time_window_size_ms: int | None = None
    include_version_timestamp_column: bool | None = None


Recipe = TypeVar("Recipe", Sampling, Merge)


def read_sampling(config: Mapping[str, Any]) -> Sampling:
    """The recipe of a sample; an error says what is wrong with it."""
    found = _read(config, Sampling, "samplingConfig", "samplingMethod", ("N_SAMPLING", "PERCENT_SAMPLING"))
    if found.sampling_method == "N_SAMPLING":
        if found.sample_count is None or found.sample_count < 1:
            raise InvalidParameterError("samplingConfig needs a sampleCount of at least 1")
    elif found.sample_percent is None or not 0 < found.sample_percent <= 100:
        raise InvalidParameterError("samplingConfig needs a samplePercent above 0: up to 1 a share, up to 100 percent")
    return found


def read_merge(config: Mapping[str, Any]) -> Merge:
    """The recipe of a merge; an error says what is wrong with it."""
    found = _read(config, Merge, "mergeConfig", "mergeMode", ("LAST_N", "TIME_WINDOW"))
    if found.merge_mode == "LAST_N":
        if found.num_versions is None or found.num_versions < 0:
            raise InvalidParameterError("mergeConfig needs numVersions, 0 (all versions) or more")
    elif not found.feature_name or found.time_window_size_ms is None or found.time_window_size_ms < 0:
        raise InvalidParameterError("mergeConfig needs featureName and timeWindowSizeMs, 0 or more")
    return found


def sampling_sql(table_name: str, sampling: Sampling) -> str:
    """The query that draws the sample, in the engine's dialect. Rows keep their order; equal seeds draw equal rows."""
    keys = [quoted(name) for name in sampling.key_columns]
    by = ", ".join(f"coalesce(CAST({key} AS VARCHAR), chr(0))" for key in keys) or _ROW
    lot = f"md5(concat_ws(chr(31), '{sampling.seed}', {by}))"
    chosen = ", ".join(keys) or _ROW
    amount = str(sampling.sample_count)
    if sampling.sample_percent is not None and sampling.sampling_method == "PERCENT_SAMPLING":
        share = sampling.sample_percent if sampling.sample_percent <= 1 else sampling.sample_percent / 100
        amount = f"(SELECT CAST(ceil(count(*) * {share!r}) AS BIGINT) FROM candidates)"  # noqa: S608 - a number of ours
    same = " AND ".join(f"numbered.{key} IS NOT DISTINCT FROM drawn.{key}" for key in keys or [_ROW])
    return (
        f"WITH numbered AS (SELECT *, row_number() OVER () AS {_ROW} FROM {quoted(table_name)}), "  # noqa: S608 - names are quoted
        f"candidates AS (SELECT DISTINCT {chosen} FROM numbered), "
        f"drawn AS (SELECT {chosen} FROM candidates ORDER BY {lot}, {chosen} LIMIT {amount}) "
        f"SELECT * EXCLUDE ({_ROW}) FROM numbered SEMI JOIN drawn ON {same} ORDER BY {_ROW}"
    )


def merge_sql(merge: Merge, versions: Mapping[str, str]) -> str:
    """The query that puts versions together: name of each table -> the moment of its creation, oldest first."""
    stamp = bool(merge.include_version_timestamp_column)
    each = [
        f"SELECT *{f', TIMESTAMP {_text(made)} AS version_timestamp' if stamp else ''} FROM {quoted(name)}"  # noqa: S608 - as above
        for name, made in versions.items()
    ]
    together = " UNION ALL BY NAME ".join(each)
    if merge.merge_mode == "LAST_N" or merge.feature_name is None:
        return together
    moment = f"CAST({quoted(merge.feature_name)} AS TIMESTAMP)"
    return (
        f"WITH merged AS ({together}) SELECT * FROM merged "  # noqa: S608 - as above
        f"WHERE {moment} >= (SELECT max({moment}) FROM merged) - to_milliseconds({merge.time_window_size_ms})"
    )


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def as_given(recipe: Sampling | Merge) -> dict[str, Any]:
    """The recipe as callers see it: what it doesn't say is left out."""
    return {name: value for name, value in msgspec.to_builtins(recipe).items() if value is not None}


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _read(
    config: Mapping[str, Any], kind: type[Recipe], parameter: str, choice: str, choices: tuple[str, ...]
) -> Recipe:
    """Keys may come as `sampleCount` or `sample_count`; null means left out."""
    values = {camel(str(name)): value for name, value in config.items() if value is not None}
    chosen = str(values.get(choice, "")).upper()
    if chosen not in choices:
        given = values.get(choice, "nothing")
        raise InvalidEnumParameterError(
            f"Invalid value for {parameter}.{choice}: {str(given)[:100]!r}; it must be {' or '.join(choices)}"
        )
    try:
        return msgspec.convert(values | {choice: chosen}, kind)
    except msgspec.ValidationError as error:
        names = [field.encode_name for field in msgspec.structs.fields(kind)]
        unknown = next((name for name in values if name not in names), None)
        near = difflib.get_close_matches(unknown or "", names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InvalidParameterError(f"Invalid value for {parameter}: {error}{hint}") from None

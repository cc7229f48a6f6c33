"""Writes a query for the engine, and refuses functions that the engine does not have, with their place.

What the engine has is a list beside this file, `engine_functions.txt`: name, least and most arguments
(`*`: any number). The gateway never loads the engine, so the list is kept, and a test asks it whether it is true.
"""

import difflib
import functools
from importlib import resources
from typing import Any

from sqlglot import exp
from sqlglot.dialects import DuckDB
from sqlglot.errors import ErrorLevel

from modelyard.errors import InvalidParameterError
from modelyard.feature_groups.queries.dialect import ANSWERED, RENAMED
from modelyard.feature_groups.queries.lambdas import LAMBDA_FUNCTIONS
from modelyard.sandbox.guest.spark_macros import MACROS, PREFIX

#: What is written like a function and is none; the engine's grammar has it.
_GRAMMAR = (
    "case", "cast", "coalesce", "columns", "cube", "exists", "extract", "grouping", "grouping_id", "if", "interval",
    "list_value", "map", "overlay", "pivot", "position", "rollup", "row", "struct_pack", "substring", "trim", "try",
    "try_cast", "unnest", "unpivot", "values", "current_date", "current_timestamp", "current_time", "localtimestamp",
)  # fmt: skip
#: Names that users may have meant, beside those that the engine or a macro answers to.
_TRANSLATED = (
    "add_months", "aggregate", "approx_percentile", "array", "array_agg", "array_append", "array_compact",
    "array_contains", "array_except", "array_join", "array_max", "array_min", "array_remove", "array_sort", "coalesce",
    "collect_list", "collect_set", "concat", "concat_ws", "count_if", "current_date", "current_timestamp", "date_add",
    "date_format", "date_sub", "date_trunc", "dateadd", "datediff", "dayofmonth", "dayofweek", "element_at", "exists",
    "explode", "explode_outer", "filter", "flatten", "from_unixtime", "get_json_object", "ifnull", "initcap", "instr",
    "last_day", "locate", "map_entries", "map_from_arrays", "map_keys", "map_values", "named_struct", "next_day",
    "nullif", "nvl", "nvl2", "percentile", "percentile_approx", "posexplode", "reduce", "regexp_extract",
    "regexp_extract_all", "regexp_like", "regexp_replace", "rlike", "row_number", "slice", "sort_array", "split",
    "split_part", "struct", "substr", "timestampadd", "timestampdiff", "to_date", "to_json", "to_timestamp",
    "transform", "trunc", "try_divide", "unix_date", "unix_timestamp", "weekofyear",
)  # fmt: skip


def write(tree: exp.Query, text: str) -> str:
    """The tree as the engine reads it; `text` is what the user wrote, for the message about a function."""
    engine = _Engine()
    generator = engine.generator(unsupported_level=ErrorLevel.RAISE)
    generator.text = text
    return str(generator.generate(tree, copy=False))


@functools.cache
def engine_functions() -> dict[str, tuple[int, float]]:
    """Function -> the least and the most arguments that it takes."""
    lines = resources.files(__package__).joinpath("engine_functions.txt").read_text("utf-8").splitlines()
    found = {}
    for line in lines:
        name, least, most = line.split()
        found[name] = (int(least), float("inf") if most == "*" else int(most))
    # Their last arguments have defaults, which the engine does not tell.
    return found | {"lead": (1, 3), "lag": (1, 3)}


@functools.cache
def _arguments_of_macros() -> dict[str, tuple[int, float]]:
    counts = {name: [_count(form) for form in forms] for name, forms in MACROS.items()}
    return {PREFIX + name: (min(found), max(found)) for name, found in counts.items()}


def _count(form: str) -> int:
    parameters = form[1 : form.index(")")].strip()
    return parameters.count(",") + 1 if parameters else 0


class _Engine(DuckDB):  # type: ignore[misc]  # sqlglot builds its dialects at run time
    class Generator(DuckDB.Generator):  # type: ignore[misc]
        text = ""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            #: The functions of the user's that are being written, the innermost last.
            self._calls: list[exp.Expr] = []

        def sql(self, expression: Any, key: str | None = None, comment: bool = True) -> str:
            is_call = key is None and isinstance(expression, exp.Func) and "start" in expression.meta
            if not is_call:
                return str(super().sql(expression, key, comment))
            self._calls.append(expression)
            try:
                return str(super().sql(expression, key, comment))
            finally:
                self._calls.pop()

        def dot_sql(self, expression: exp.Dot) -> str:
            if isinstance(expression.expression, exp.Func):
                raise InvalidParameterError(
                    f"There is no function {expression.sql()[:100]!r}: functions have one name, without dots"
                )
            return str(super().dot_sql(expression))

        def func(self, name: str, *args: Any, **how: Any) -> str:
            self._check(name.lower(), sum(each is not None and not isinstance(each, bool) for each in args))
            return str(super().func(name, *args, **how))

        def _check(self, name: str, count: int) -> None:
            if name in _GRAMMAR:
                return
            known = engine_functions().get(name) or _arguments_of_macros().get(name)
            if known is None:
                raise InvalidParameterError(self._place() + _unknown(self._written(name)))
            least, most = known
            if not least <= count <= most:
                raise InvalidParameterError(
                    f"{self._place()}{self._written(name)} takes {_many(least, most)}, not {count}"
                )

        def _written(self, name: str) -> str:
            if not self._calls:
                return name.removeprefix(PREFIX)
            meta = self._calls[-1].meta
            return self.text[int(meta["start"]) : int(meta["end"]) + 1] or name

        def _place(self) -> str:
            if not self._calls:
                return ""
            meta = self._calls[-1].meta
            length = int(meta["end"]) - int(meta["start"])
            return f"line {meta['line']}, column {max(1, int(meta['col']) - length)}: "


def _unknown(name: str) -> str:
    names = {*engine_functions(), *ANSWERED, *RENAMED, *LAMBDA_FUNCTIONS, *_TRANSLATED}
    near = [each for each in difflib.get_close_matches(name.lower(), names, n=2, cutoff=0.75) if each != name.lower()]
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"there is no function {name[:100]!r} here{hint}"


def _many(least: int, most: float) -> str:
    if least == most:
        return f"{least} argument{'' if least == 1 else 's'}"
    return f"{least} or more arguments" if most == float("inf") else f"{least} to {most:.0f} arguments"

"""What functions of Spark mean, said in the engine's own SQL: macros that a query finds when it calls them.

The dialect (`feature_groups.dialect`) writes `spark_NAME(...)` for each of them; a guest defines those that its query
names. A macro with several overloads is chosen by the types of its arguments, which are known when the query is bound,
and is then part of the query's plan: it costs nothing in the run. Source: Spark SQL, Built-in Functions, ANSI mode off.
"""

from typing import Any

#: What every name begins with, so that none hides a function of the engine's.
PREFIX = "spark_"

_DIGITS = r"'^\s*([+-]?\d+)(\.\d*)?\s*$'"
_IS_FRACTION = "typeof(x) IN ('DOUBLE', 'FLOAT') OR typeof(x) LIKE 'DECIMAL%'"
_IS_MOMENT = "typeof(x) LIKE 'TIMESTAMP%'"
#: The same moment whatever it came as; only where `x` is one.
_MOMENT = "TRY_CAST(CAST(x AS VARCHAR) AS TIMESTAMP)"


def _whole(kind: str) -> tuple[str, ...]:
    """CAST(x AS a whole number): fractions are cut, moments are seconds, what does not fit is null."""
    return (
        (
            f"(x) AS CASE WHEN typeof(x) = 'VARCHAR' THEN"
            f" TRY_CAST(regexp_extract(CAST(x AS VARCHAR), {_DIGITS}, 1) AS {kind})"
            f" WHEN typeof(x) LIKE 'DECIMAL%' THEN TRY_CAST(TRUNC(TRY_CAST(x AS DECIMAL(38, 6))) AS {kind})"
            f" WHEN {_IS_FRACTION} THEN TRY_CAST(TRUNC(TRY_CAST(x AS DOUBLE)) AS {kind})"
            f" WHEN {_IS_MOMENT} THEN TRY_CAST(FLOOR(EPOCH({_MOMENT})) AS {kind})"
            f" ELSE TRY_CAST(x AS {kind}) END"
        ),
    )


def _logarithm(name: str) -> tuple[str, ...]:
    """No number has a logarithm below or at zero: null."""
    return (f"(x) AS CASE WHEN x > 0 THEN {name}(x) END",)


def _map_of(parameters: str, pair: str, key: str) -> str:
    """The map that text says, its pairs and keys ended by what `pair` and `key` stand for."""
    return (
        f"{parameters} AS map_from_entries(list_transform(string_split(x, {pair}), LAMBDA e :"
        f" {{'key': split_part(e, {key}, 1), 'value': CASE WHEN contains(e, {key})"
        f" THEN substring(e, strpos(e, {key}) + length({key})) END}}))"
    )


#: Name in Spark -> its forms; overloads have the same names of parameters.
MACROS: dict[str, tuple[str, ...]] = {
    # Null, and what is no number
    "isnull": ("(x) AS x IS NULL",),
    "isnotnull": ("(x) AS x IS NOT NULL",),
    "nanvl": ("(x, y) AS CASE WHEN isnan(CAST(x AS DOUBLE)) THEN y ELSE x END",),
    "iff": ("(x, y, z) AS CASE WHEN x THEN y ELSE z END",),
    "nullifzero": ("(x) AS NULLIF(x, 0)",),
    "zeroifnull": ("(x) AS COALESCE(x, 0)",),
    # Numbers
    "pmod": ("(x, y) AS ((x % NULLIF(y, 0)) + y) % NULLIF(y, 0)",),
    "bround": ("(x) AS round_even(x, 0)", "(x, n) AS round_even(x, n)"),
    "ln": _logarithm("ln"),
    "log": ("(x) AS CASE WHEN x > 0 THEN ln(x) END", "(x, y) AS CASE WHEN x > 0 AND y > 0 THEN ln(y) / ln(x) END"),
    "log10": _logarithm("log10"),
    "log2": _logarithm("log2"),
    "hypot": ("(x, y) AS sqrt(CAST(x AS DOUBLE) * x + CAST(y AS DOUBLE) * y)",),
    "try_add": ("(x, y) AS TRY(x + y)",),
    "try_subtract": ("(x, y) AS TRY(x - y)",),
    "try_multiply": ("(x, y) AS TRY(x * y)",),
    "uuid": ("() AS CAST(uuid() AS VARCHAR)",),
    "monotonically_increasing_id": ("() AS row_number() OVER () - 1",),
    # Casts, which depend on what is cast
    "to_tinyint": _whole("TINYINT"),
    "to_smallint": _whole("SMALLINT"),
    "to_int": _whole("INTEGER"),
    "to_bigint": _whole("BIGINT"),
    "to_double": (f"(x) AS CASE WHEN {_IS_MOMENT} THEN EPOCH({_MOMENT}) ELSE TRY_CAST(x AS DOUBLE) END",),
    "to_moment": (
        (
            f"(x) AS CASE WHEN typeof(x) LIKE '%INT%' OR {_IS_FRACTION}"
            " THEN TRY(make_timestamp(CAST(TRY_CAST(CAST(x AS VARCHAR) AS DOUBLE) * 1000000 AS BIGINT)))"
            " ELSE TRY_CAST(x AS TIMESTAMP) END"
        ),
    ),
    "to_day": (
        (
            "(x) AS CASE WHEN typeof(x) = 'VARCHAR' THEN COALESCE(TRY_CAST(CAST(x AS VARCHAR) AS DATE),"
            " TRY_CAST(CAST(x AS VARCHAR) || '-01' AS DATE), TRY_CAST(CAST(x AS VARCHAR) || '-01-01' AS DATE))"
            " ELSE TRY_CAST(x AS DATE) END"
        ),
    ),
    # Days and moments
    "later": (
        "(x DATE, i INTERVAL) AS CAST(x + i AS DATE)",
        "(x TIMESTAMP, i INTERVAL) AS x + i",
        "(x TIMESTAMPTZ, i INTERVAL) AS x + i",
        "(x VARCHAR, i INTERVAL) AS TRY_CAST(x AS TIMESTAMP) + i",
    ),
    "earlier": (
        "(x DATE, i INTERVAL) AS CAST(x - i AS DATE)",
        "(x TIMESTAMP, i INTERVAL) AS x - i",
        "(x TIMESTAMPTZ, i INTERVAL) AS x - i",
        "(x VARCHAR, i INTERVAL) AS TRY_CAST(x AS TIMESTAMP) - i",
    ),
    "weekday": ("(x) AS isodow(CAST(x AS DATE)) - 1",),
    "dayname": ("(x) AS left(dayname(CAST(x AS DATE)), 3)",),
    "monthname": ("(x) AS left(monthname(CAST(x AS DATE)), 3)",),
    "hour": ("(x) AS hour(TRY_CAST(x AS TIMESTAMP))",),
    "minute": ("(x) AS minute(TRY_CAST(x AS TIMESTAMP))",),
    "second": ("(x) AS second(TRY_CAST(x AS TIMESTAMP))",),
    "make_date": (
        "(y, m, d) AS TRY_CAST(CAST(y AS VARCHAR) || '-' || CAST(m AS VARCHAR) || '-' || CAST(d AS VARCHAR) AS DATE)",
    ),
    "date_from_unix_date": ("(x) AS DATE '1970-01-01' + CAST(x AS INTEGER)",),
    "timestamp_seconds": ("(x) AS make_timestamp(CAST(CAST(x AS DECIMAL(38, 6)) * 1000000 AS BIGINT))",),
    "timestamp_millis": ("(x) AS make_timestamp(CAST(x AS BIGINT) * 1000)",),
    "timestamp_micros": ("(x) AS make_timestamp(CAST(x AS BIGINT))",),
    "from_utc_timestamp": ("(x, z) AS timezone(z, timezone('UTC', CAST(x AS TIMESTAMP)))",),
    "to_utc_timestamp": ("(x, z) AS timezone('UTC', timezone(z, CAST(x AS TIMESTAMP)))",),
    "months_between": ("(x, y) AS spark_months_apart(CAST(x AS TIMESTAMP), CAST(y AS TIMESTAMP))",),
    "months_apart": (
        (
            "(x, y) AS CASE WHEN day(x) = day(y)"
            " OR (CAST(x AS DATE) = last_day(x) AND CAST(y AS DATE) = last_day(y))"
            " THEN CAST((year(x) - year(y)) * 12 + month(x) - month(y) AS DOUBLE)"
            " ELSE round((year(x) - year(y)) * 12 + month(x) - month(y) + ((day(x) - day(y)) * 86400"
            " + epoch(x - date_trunc('day', x)) - epoch(y - date_trunc('day', y))) / 2678400.0, 8) END"
        ),
    ),
    "sequence": (
        "(x DATE, y DATE) AS list_transform(generate_series(x, y, INTERVAL 1 DAY), LAMBDA e : CAST(e AS DATE))",
        "(x DATE, y DATE, s INTERVAL) AS list_transform(generate_series(x, y, s), LAMBDA e : CAST(e AS DATE))",
        "(x TIMESTAMP, y TIMESTAMP, s INTERVAL) AS generate_series(x, y, s)",
        "(x BIGINT, y BIGINT) AS generate_series(x, y, CASE WHEN x <= y THEN 1 ELSE -1 END)",
        "(x BIGINT, y BIGINT, s BIGINT) AS generate_series(x, y, s)",
    ),
    # Text
    "regexp": ("(x, p) AS regexp_matches(x, p)",),
    "substring": (
        "(x, f) AS substring(CAST(x AS VARCHAR), CASE WHEN f = 0 THEN 1 ELSE f END)",
        "(x, f, n) AS substring(CAST(x AS VARCHAR), CASE WHEN f = 0 THEN 1 ELSE f END, n)",
    ),
    "substring_index": (
        (
            "(x, d, n) AS CASE WHEN n > 0 THEN array_to_string(list_slice(string_split(x, d), 1, n), d)"
            " WHEN n < 0 THEN array_to_string(list_reverse(list_slice(list_reverse(string_split(x, d)), 1, -n)), d)"
            " WHEN n = 0 THEN '' END"
        ),
    ),
    "btrim": ("(x) AS trim(x)", "(x, c) AS trim(x, c)"),
    "octet_length": ("(x) AS strlen(CAST(x AS VARCHAR))",),
    "format_number": ("(x, n) AS format('{:,.' || CAST(n AS VARCHAR) || 'f}', CAST(x AS DOUBLE))",),
    "format_string": tuple(
        f"({', '.join(['f', *names])}) AS printf({', '.join(['f', *names])})"
        for names in (["a"], ["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"], ["a", "b", "c", "d", "e"])
    ),
    "find_in_set": (
        (
            "(x, s) AS CASE WHEN x IS NULL OR s IS NULL THEN NULL WHEN contains(x, ',') THEN 0"
            " ELSE COALESCE(list_position(string_split(s, ','), x), 0) END"
        ),
    ),
    "str_to_map": (
        _map_of("(x)", "','", "':'"),
        _map_of("(x, p)", "p", "':'"),
        _map_of("(x, p, k)", "p", "k"),
    ),
    # Arrays and maps
    "array_distinct": ("(x) AS list_filter(x, LAMBDA e, i : list_position(x, e) = i)",),
    "array_union": ("(x, y) AS list_filter(list_concat(x, y), LAMBDA e, i : list_position(list_concat(x, y), e) = i)",),
    "array_intersect": (
        "(x, y) AS list_filter(x, LAMBDA e, i : list_position(x, e) = i AND list_position(y, e) IS NOT NULL)",
    ),
    "array_except": (
        "(x, y) AS list_filter(x, LAMBDA e, i : list_position(x, e) = i AND list_position(y, e) IS NULL)",
    ),
    "arrays_overlap": ("(x, y) AS list_has_any(x, y)",),
    "array_repeat": ("(x, n) AS list_transform(range(CAST(n AS BIGINT)), LAMBDA e : x)",),
    "array_position": (
        "(x, e) AS CASE WHEN x IS NOT NULL AND e IS NOT NULL THEN COALESCE(list_position(x, e), 0) END",
    ),
    "map_contains_key": ("(m, k) AS map_contains(m, k)",),
    "or_one_null": ("(x) AS CASE WHEN COALESCE(len(x), 0) = 0 THEN [NULL] ELSE x END",),
    # Aggregates
    "skewness": (
        (
            "(x) AS CASE WHEN count(x) > 2 THEN skewness(x) * (count(x) - 2) / sqrt(CAST(count(x) AS DOUBLE)"
            " * (count(x) - 1)) ELSE skewness(x) END"
        ),
    ),
}


def used(query: str) -> list[str]:
    """The macros that the query may call, and those that these call, each after what it needs."""
    text, found = query.lower(), list[str]()
    for name, forms in MACROS.items():
        if PREFIX + name + "(" in text:
            found += [other for other in MACROS if PREFIX + other + "(" in "".join(forms) and other != name]
            found.append(name)
    return list(dict.fromkeys(found))


def define(connection: Any, query: str) -> None:
    """Makes the macros that the query calls."""
    for name in used(query):
        connection.execute(f"CREATE TEMP MACRO {PREFIX}{name} {', '.join(MACROS[name])}")

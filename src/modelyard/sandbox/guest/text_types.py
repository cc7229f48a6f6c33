"""Which types the columns of a text file have: the narrowest that every value of the whole file fits.

A guess comes from the first rows, and the pass that reads the table checks it against every value (`checked`). Only
where that finds a value which does not fit, the file is read once more for the answer (`decided`), so that a file
whose last row is different costs time and never a wrong type. What DuckDB would cast and thereby change (`1.5` to a
whole number, `007`, `1_000`, `0x1F`) is not of the form here, and stays text.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import engine
from .uploads import Again

if TYPE_CHECKING:
    import pyarrow

TEXT = "VARCHAR"
_WHOLE = r"(0|[1-9][0-9]*)"
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[0-9]{2}:[0-9]{2}"
_ZONE = r" ?(Z|[+-][0-9]{2}(:?[0-9]{2})?)"
#: DuckDB's type for values of that form, narrowest first.
FORMS = {
    "BOOLEAN": r"(?i)(true|false|t|f|yes|no)",
    "BIGINT": rf"\s*-?{_WHOLE}\s*",
    "HUGEINT": rf"\s*-?{_WHOLE}\s*",
    "DOUBLE": rf"(?i)\s*-?(({_WHOLE}(\.[0-9]*)?|\.[0-9]+)(e[-+]?[0-9]+)?|nan|inf|infinity)\s*",
    "DATE": _DATE,
    "TIMESTAMP": rf"{_DATE}([ T]{_TIME}(:[0-9]{{2}}(\.[0-9]{{1,6}})?)?)?",
    "TIMESTAMP_NS": rf"{_DATE}([ T]{_TIME}(:[0-9]{{2}}(\.[0-9]{{1,9}})?)?)?",
    "TIMESTAMPTZ": rf"{_DATE}[ T]{_TIME}(:[0-9]{{2}}(\.[0-9]{{1,6}})?)?{_ZONE}",
}
#: The types that DuckDB recognises by itself.
PLAIN = ["BOOLEAN", "BIGINT", "HUGEINT", "DOUBLE", TEXT]
#: Rows that a guess looks at.
SAMPLE_ROWS = 20_000
#: A query that tests thousands of columns takes minutes to be planned.
TESTS_AT_ONCE = 200
#: The column by which `checked` says whether all values of a row fit.
FITS = "modelyard fits"

#: Column -> types that it may have, narrowest first; none for text, all for a column without a value.
Candidates = dict[str, list[str]]


def guessed(sample: "pyarrow.Table") -> Candidates:
    """The types whose form all values of the sample have."""
    from pyarrow import compute

    found = {}
    for name in sample.column_names:
        values = compute.unique(sample.column(name)).drop_null()
        found[name] = [kind for kind, form in FORMS.items() if compute.all(_matches(values, form), min_count=0).as_py()]
    return found


def _matches(values: "pyarrow.Array", form: str) -> "pyarrow.Array":
    from pyarrow import compute

    flags, rest = ("(?i)", form[4:]) if form.startswith("(?i)") else ("", form)
    return compute.match_substring_regex(values, rf"{flags}\A(?:{rest})\z")


def decided(relation: Any, candidates: Candidates) -> dict[str, str]:
    """The type of each column that is not text, by every value of the relation; reads it once for some columns."""
    tests = [(name, kind) for name, kinds in candidates.items() for kind in kinds]
    wanted: dict[str, str] = {}
    for start in range(0, len(tests), TESTS_AT_ONCE):
        some = tests[start : start + TESTS_AT_ONCE]
        asked = ", ".join(f"count({engine.quoted(name)}) > 0 AND bool_and({_fits(name, kind)})" for name, kind in some)
        (answers,) = relation.aggregate(asked).fetchall()
        for (name, kind), fits in zip(some, answers, strict=True):
            if fits:
                wanted.setdefault(name, kind)
    return wanted


def typed(relation: Any, types: dict[str, str]) -> Any:
    """The relation with text columns cast to their types."""
    return engine.replaced(relation, {name: _cast(name, kind) for name, kind in types.items()})


def checked(relation: Any, candidates: Candidates) -> Any:
    """The relation, each column cast to its first candidate, and one more that says whether a row's values fit."""
    types = {name: kinds[0] for name, kinds in candidates.items() if 0 < len(kinds) < len(FORMS)}
    unknown = [name for name, kinds in candidates.items() if len(kinds) == len(FORMS)]
    tests = [_fits(name, kind) for name, kind in types.items()]
    tests += [f"{engine.quoted(name)} IS NULL" for name in unknown]
    columns = (
        f"{_cast(name, types[name])} AS {engine.quoted(name)}" if name in types else engine.quoted(name)
        for name in relation.columns
    )
    return relation.project(f"{', '.join(columns)}, {' AND '.join(tests) or 'true'} AS {engine.quoted(FITS)}")


def fitting(batches: Any) -> "Iterator[pyarrow.RecordBatch]":
    """The batches of `checked` without its last column, as long as all values fit; then Again."""
    from pyarrow import compute

    for batch in batches:
        if not compute.all(batch.column(batch.num_columns - 1), min_count=0).as_py():
            raise Again(exact=True)
        yield batch.remove_column(batch.num_columns - 1)


def _cast(name: str, kind: str) -> str:
    return f"TRY_CAST({engine.quoted(name)} AS {kind})"


def _fits(name: str, kind: str) -> str:
    """Whether a value is null, or of the form and the type. Quick ways first: a regular expression costs the most."""
    column, cast = engine.quoted(name), _cast(name, kind)
    if kind == "DOUBLE":  # to print one costs more than to look at how it begins
        quick = f"{column} >= '1' AND {column} < ':' AND NOT contains({column}, '_') AND {cast} IS NOT NULL"
    else:
        quick = f"CAST({cast} AS VARCHAR) = {column}"
    form = f"regexp_full_match({column}, '{FORMS[kind]}') AND {cast} IS NOT NULL"
    return f"CASE WHEN {column} IS NULL THEN true WHEN {quick} THEN true ELSE {form} END"

"""CSV and its kin, read by DuckDB: types are those that every row of the whole file fits.

The first row names the columns. An empty value is null. Integers, fractions and true/false are recognised, dates and
times in ISO 8601 only: `01/02/2020` means January here and February there, so it stays text (`text_types`). Where
DuckDB refuses the file, it is read once more, plainly, to say in which row what is wrong.
"""

import csv
import io
from collections.abc import Iterator
from typing import Any

from . import arrow_types, engine, text_types
from .failures import Refused
from .uploads import Again, Found, Options, Source

#: DuckDB holds several of these for each thread, 32 MiB each unless told otherwise.
_BUFFER_BYTES = 4 * 1024**2
_DELIMITERS = (",", ";", "\t", "|")


def read(source: Source, options: Options) -> Found:
    """The table in a file of separated values."""
    import duckdb

    csv.field_size_limit(2**31 - 1)
    _check_text(source)
    delimiter = options.delimiter or ("\t" if options.format == "TSV" else _delimiter(source))
    given = _header(source, delimiter, options.escape)
    names = arrow_types.unique_names(given)
    said = {f"c{index}" for index, name in enumerate(names) if name in options.column_types}
    is_wide = len(names) > text_types.TESTS_AT_ONCE
    connection = engine.for_files(options.limits, frugal=options.frugal and not is_wide)
    # A wide file as text takes gigabytes; there DuckDB finds the types of numbers, in a slower pass of its own.
    types = {"sample_size": -1, "auto_type_candidates": text_types.PLAIN} if is_wide else {"all_varchar": True}
    try:
        relation = connection.read_csv(
            source.path, header=True, delimiter=delimiter, quotechar='"', escapechar=options.escape, compression="none",
            names=[f"c{index}" for index in range(len(names))], dtype=dict.fromkeys(said, text_types.TEXT),
            buffer_size=_BUFFER_BYTES, **types,
        )  # fmt: skip
        if len(relation.columns) != len(names):
            raise duckdb.InvalidInputException("rows of different lengths")
        found, is_guess = _typed(relation, said, exact=options.exact or is_wide)
    except duckdb.OutOfMemoryException as error:
        raise _starved(source, options, error) from None
    except duckdb.Error as error:
        raise _diagnosed(source, delimiter, options.escape, len(names), error) from None
    schema = found.schema.empty_table().select(range(len(names))).rename_columns(names).schema
    renamed = {new: old for new, old in zip(names, given, strict=True) if new != old}
    inspected = {"format": options.format or "CSV", "delimiter": delimiter} | (
        {"renamedColumns": renamed} if renamed else {}
    )
    rows = text_types.fitting(found) if is_guess else found
    return Found(schema, _batches(rows, source, delimiter, options, len(names)), inspected)


def _typed(relation: Any, said: set[str], *, exact: bool) -> tuple[Any, bool]:
    """A reader of the rows with types; and whether these are a guess, which its last column checks. Not of `said`."""
    kinds = zip(relation.columns, relation.types, strict=True)
    texts = [name for name, kind in kinds if str(kind) == text_types.TEXT and name not in said]
    sample = relation.project(", ".join(map(engine.quoted, texts))).limit(text_types.SAMPLE_ROWS) if texts else None
    candidates = {} if sample is None else text_types.guessed(sample.to_arrow_table())
    if exact:
        return engine.reader(text_types.typed(relation, text_types.decided(relation, candidates))), False
    return engine.reader(text_types.checked(relation, candidates)), True


def _batches(found: Any, source: Source, delimiter: str, options: Options, width: int) -> Iterator[Any]:
    import duckdb

    try:
        yield from found
    except duckdb.OutOfMemoryException as error:
        raise _starved(source, options, error) from None
    except (duckdb.Error, OSError) as error:
        raise (
            _starved(source, options, error)
            if "Out of Memory" in str(error)
            else _diagnosed(source, delimiter, options.escape, width, error)
        ) from None


def _starved(source: Source, options: Options, error: Exception) -> Exception:
    """What to do when the engine has too little memory: try with all there is, then give up."""
    if options.frugal:
        return Again(frugal=False)
    return Refused(f"{source.name} has rows too large for its memory: {str(error).splitlines()[0]}", "ValueError")


def _check_text(source: Source) -> None:
    if source.head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Refused(f"{source.name} is UTF-16 text; save it as UTF-8.", "ValueError")
    at = source.head.find(b"\0")
    if at >= 0:
        raise Refused(f"{source.name} is not text: byte {at + 1} is zero. It can't be read as CSV.", "ValueError")


def _rows(source: Source, delimiter: str, escape: str) -> "tuple[Any, Iterator[list[str]]]":
    text = io.TextIOWrapper(source.open(), encoding="utf-8-sig", newline="")
    plain = {} if escape == '"' else {"doublequote": False, "escapechar": escape}
    return text, csv.reader(text, delimiter=delimiter, strict=True, **plain)  # type: ignore[arg-type]  # as csv has it


def _header(source: Source, delimiter: str, escape: str) -> list[str]:
    text, rows = _rows(source, delimiter, escape)
    with text:
        try:
            return next(row for row in rows if row)
        except StopIteration:
            raise Refused(f"{source.name} has no columns: it holds blank lines only.", "ValueError") from None
        except UnicodeDecodeError as error:
            raise Refused(_not_utf8(source, 1, error), "ValueError") from None
        except csv.Error as error:
            raise Refused(f"The header of the file can't be read: {error}.", "ValueError") from None


def _delimiter(source: Source) -> str:
    """The separator that splits the first row into most values, if the second agrees; a comma when in doubt."""
    lines = source.head.decode("utf-8-sig", "replace").splitlines(keepends=True)
    best, most = ",", 1
    for delimiter in _DELIMITERS:
        try:
            rows = list(csv.reader(lines[:20], delimiter=delimiter))
        except csv.Error:
            continue
        widths = [len(row) for row in rows if row]
        if widths and widths[0] > most and (len(widths) < 3 or widths[1] == widths[0]):
            best, most = delimiter, widths[0]
    return best


def _diagnosed(source: Source, delimiter: str, escape: str, width: int, error: Exception) -> Refused:
    """The first thing that is wrong with the file, in words; DuckDB's own where a plain look finds nothing."""
    text, rows = _rows(source, delimiter, escape)
    number = -1
    with text:
        try:
            for number, row in enumerate(row for row in rows if row):
                if number and len(row) != width:
                    return Refused(
                        f"Row {number} (line {rows.line_num}) has {len(row)} values, but the first row names {width} "  # type: ignore[attr-defined]  # a csv reader
                        f"columns, separated by {delimiter!r}.",
                        "ValueError",
                    )
        except UnicodeDecodeError as undecodable:
            return Refused(_not_utf8(source, number + 2, undecodable), "ValueError")
        except csv.Error as wrong:
            return Refused(f"Row {number + 1} can't be read: {wrong} (a quotation mark is not closed?).", "ValueError")
    return Refused(f"{source.name} can't be read as CSV: {str(error).splitlines()[0]}", "ValueError")


def _not_utf8(source: Source, line: int, error: UnicodeDecodeError) -> str:
    byte = error.object[error.start]
    return f"{source.name} is not UTF-8 text: there is a byte 0x{byte:02x} in or after line {line}. Save it as UTF-8."

"""Tables out of the user's hands: whatever DataFrame came back, as an Arrow table that `parts` can write."""

from typing import TYPE_CHECKING, Any

from .failures import Refused

if TYPE_CHECKING:
    import pyarrow


def to_arrow(found: Any, name: str) -> "pyarrow.Table":
    """A pandas, polars or pyarrow table as Arrow, its index left out unless it has a name; else refused."""
    import pyarrow

    kind = type(found)
    package = kind.__module__.partition(".")[0]
    if isinstance(found, pyarrow.Table):
        table = found
        _refuse_twins(table.column_names, name)
    elif package == "polars" and kind.__name__ in ("DataFrame", "LazyFrame"):
        table = (found.collect() if kind.__name__ == "LazyFrame" else found).to_arrow()
    elif package == "pandas" and kind.__name__ == "DataFrame":
        table = _from_pandas(found, name)
    else:
        what = "nothing" if found is None else f"an object of type {kind.__name__}"
        raise Refused(f"{name} gave {what}; it must return a DataFrame (pandas, polars or pyarrow).", "TypeError")
    return table.replace_schema_metadata(None)


def _from_pandas(frame: Any, name: str) -> "pyarrow.Table":
    import pyarrow

    if any(label is not None for label in frame.index.names):
        frame = frame.reset_index()
    frame = frame.rename(columns=str)
    _refuse_twins(list(frame.columns), name)
    try:
        return pyarrow.Table.from_pandas(frame, preserve_index=False)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError) as error:
        raise Refused(f"{name} gave a column that can't be stored: {error}", "ValueError") from None


def _refuse_twins(columns: list[str], name: str) -> None:
    twice = (
        sorted({column for column in columns if columns.count(column) > 1}) if len(set(columns)) < len(columns) else []
    )
    if twice:
        raise Refused(f"{name} gave a table with more than one column named {', '.join(twice)}.", "ValueError")

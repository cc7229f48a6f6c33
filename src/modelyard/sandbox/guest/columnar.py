"""Parquet, ORC and Avro: files that bring their types along. Columns keep them; nothing is dropped.

An index that pandas stored as columns stays a column under its name; an index that is only a range holds no data.
"""

import io
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import avro_blocks, engine
from .failures import Refused
from .uploads import Found, Options, Source

if TYPE_CHECKING:
    import pyarrow


def read_parquet(source: Source, _: Options) -> Found:
    """The table in a Parquet file."""
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(source.mapped())
        schema = file.schema_arrow.remove_metadata()
    except (pyarrow.ArrowException, OSError) as error:
        raise _refused(source, "Parquet", error) from None
    batches = file.iter_batches(batch_size=engine.rows_a_batch(len(schema)))
    return Found(schema, _guarded(batches, source, "Parquet"), {"format": "PARQUET"})


def read_orc(source: Source, _: Options) -> Found:
    """The table in an ORC file."""
    import pyarrow
    import pyarrow.orc

    try:
        file = pyarrow.orc.ORCFile(source.mapped())
    except (pyarrow.ArrowException, OSError) as error:
        raise _refused(source, "ORC", error) from None
    batches = (file.read_stripe(number) for number in range(file.nstripes))
    return Found(file.schema.remove_metadata(), _guarded(batches, source, "ORC"), {"format": "ORC"})


def read_avro(source: Source, _: Options) -> Found:
    """The table in an Avro object container file, some blocks at a time."""
    tables = _avro_tables(source)
    first = next(tables)
    batches = (batch for table in itertools.chain([first], tables) for batch in table.to_batches())
    return Found(first.schema, batches, {"format": "AVRO"})


def _avro_tables(source: Source) -> "Iterator[pyarrow.Table]":
    import polars

    try:
        for piece in avro_blocks.pieces(source):
            yield polars.read_avro(io.BytesIO(piece)).to_arrow()
    except Exception as error:  # noqa: BLE001 - polars has no base class of errors, and panics are none of them
        raise _refused(source, "Avro", error) from None


def _guarded(batches: Iterator[Any], source: Source, format_: str) -> "Iterator[pyarrow.RecordBatch]":
    import pyarrow

    try:
        yield from batches
    except (pyarrow.ArrowException, OSError) as error:
        raise _refused(source, format_, error) from None


def _refused(source: Source, format_: str, error: Exception) -> Refused:
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    return Refused(f"{source.name} can't be read as {format_}: {said}", "ValueError")

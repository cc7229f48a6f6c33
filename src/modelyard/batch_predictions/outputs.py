"""The forms of a result, and the table that it becomes where it goes into a feature group."""

from modelyard.batch_predictions.definition import Definition
from modelyard.batch_predictions.predicting import Layout, Predicted, PredictionsFailed
from modelyard.datasets.importing import ImportFailed, import_bytes
from modelyard.datasets.reading import FileFormat, Reading
from modelyard.execution import RunContext
from modelyard.storage import Table


def layouts_of(
    definition: Definition, table: Table, metadata: dict[str, str], *, is_table: bool, is_csv: bool
) -> list[Layout]:
    """How the result is written: first for download, then, where it becomes a table, as the two that it is made of.

    Raises PredictionsFailed naming columns that are to be shown and are not there.
    """
    wanted, there = definition.result_input_columns, [column.name for column in table.columns]
    unknown = [name for name in wanted or () if name not in there]
    if unknown:
        raise PredictionsFailed(
            f"resultInputColumns names {', '.join(unknown)}, but the input has the columns {', '.join(there)}."
        )
    prefixes = definition.csv_input_prefix or "", definition.csv_prediction_prefix or ""
    if is_table:
        rows = Layout(False, wanted, metadata, *prefixes, separator="_", flat=True)
        text = Layout(True, wanted, metadata, *prefixes, separator="_")
        return [text, rows] if is_csv else [Layout(False, wanted, metadata), text, rows]
    if is_csv:
        return [Layout(True, wanted, metadata, *prefixes)]
    return [Layout(False, wanted, metadata)]


def make_table(run: RunContext, predicted: Predicted) -> Table:
    """The result as a table; without rows it has the columns alone."""
    text, rows = predicted.blobs[-2:]
    blob, kind = (rows, FileFormat.JSON) if predicted.counts.total else (text, FileFormat.CSV)
    try:
        return import_bytes(run, [blob.digest], blob.size, Reading(format=kind)).table
    except ImportFailed as error:
        raise PredictionsFailed(f"The result can't be made a table: {error}") from error

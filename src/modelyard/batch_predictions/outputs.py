"""The forms of a result: lines of text for download, and the table that it becomes where it goes elsewhere."""

from modelyard.batch_predictions.definition import Definition
from modelyard.batch_predictions.predicting import PredictionsFailed
from modelyard.batch_predictions.writing import Layout
from modelyard.storage import Table


def check_columns(definition: Definition, table: Table) -> None:
    """Raises PredictionsFailed naming columns that are to be shown and are not there."""
    there = [column.name for column in table.columns]
    unknown = [name for name in definition.result_input_columns or () if name not in there]
    if unknown:
        raise PredictionsFailed(
            f"resultInputColumns names {', '.join(unknown)}, but the input has the columns {', '.join(there)}."
        )


def layout_of_text(definition: Definition, metadata: dict[str, str], *, is_csv: bool) -> Layout:
    """How the lines for download look; prefixes are for CSV."""
    wanted = definition.result_input_columns
    if not is_csv:
        return Layout(False, wanted, metadata)
    prefixes = definition.csv_input_prefix or "", definition.csv_prediction_prefix or ""
    # As the columns of a table are called, and as the same result's are in a feature group.
    return Layout(True, wanted, metadata, *prefixes)


def layout_of_table(definition: Definition, metadata: dict[str, str]) -> Layout:
    """What the columns of a table are called."""
    prefixes = definition.csv_input_prefix or "", definition.csv_prediction_prefix or ""
    return Layout(True, definition.result_input_columns, metadata, *prefixes, separator="_")

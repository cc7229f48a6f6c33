"""What a batch prediction says: its input, its arguments, its output. Kept as JSON with it and with each version.

Source: the SDK's createBatchPrediction, updateBatchPrediction and setBatchPrediction*.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from modelyard.database import JsonObject
from modelyard.errors import InvalidParameterError
from modelyard.feature_groups.exports.destinations import Destination, ExportFormat, Kind, destination_of, read_config
from modelyard.ids import DatabaseConnectorId, DatasetId, FeatureGroupId

#: Longest prefix of CSV columns.
PREFIX_LIMIT = 100
#: Columns that metadata adds.
START_TIME, VERSION, MODEL_VERSION = "prediction_start_time", "batch_prediction_version", "model_version"


class OutputFormat(StrEnum):
    """How a result is written. Read without regard to case, as the SDK compares them."""

    #: One JSON object a line.
    JSON = "JSON"
    #: Comma-separated values under one line of names.
    CSV = "CSV"

    @classmethod
    def _missing_(cls, value: object) -> "OutputFormat | None":
        return next((each for each in cls if isinstance(value, str) and each.value == value.upper()), None)


class Definition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The whole of it."""

    #: None: JSON, or what goes into a feature group.
    output_format: OutputFormat | None = None
    csv_input_prefix: str | None = None
    csv_prediction_prefix: str | None = None
    csv_explanations_prefix: str | None = None
    output_includes_metadata: bool = False
    #: Input columns that the result shows; None shows all.
    result_input_columns: list[str] | None = None
    #: As the caller gave them; `arguments` says what the functions get.
    global_prediction_args: JsonObject | None = None
    batch_prediction_args: JsonObject | None = None
    #: The caller's word for the input, and the feature group; None: the model's first training table.
    feature_group_type: str | None = None
    feature_group_id: FeatureGroupId | None = None
    #: Where results are written beside here, as `feature_groups.destinations.Destination`.
    destination: JsonObject | None = None
    #: Dataset of the input's definitions -> the dataset that takes its place.
    dataset_id_remap: dict[DatasetId, DatasetId] = {}

    @property
    def arguments(self) -> JsonObject:
        """Keyword arguments for the user's functions."""
        given = {**(self.global_prediction_args or {}), **(self.batch_prediction_args or {})}
        return {name: value for name, value in given.items() if name not in _SERVICE_ARGUMENTS and value is not None}


def format_of(definition: Definition, output_feature_group_id: FeatureGroupId | None) -> OutputFormat:
    """How the result is written for download. Source: the SDK's createBatchPrediction, table_name."""
    if output_feature_group_id is not None:
        return OutputFormat.CSV
    return definition.output_format or OutputFormat.JSON


#: Fields of the SDK's argument classes that are the platform's, not the function's.
_SERVICE_ARGUMENTS = ("problemType", "forEval", "createMonitor")


def check_definition(definition: Definition) -> Definition:
    """The definition, if it can be kept; InvalidParameterError names what can't."""
    for name in ("csv_input_prefix", "csv_prediction_prefix", "csv_explanations_prefix"):
        prefix = getattr(definition, name)
        if prefix is not None and (len(prefix) > PREFIX_LIMIT or not prefix.isprintable()):
            raise InvalidParameterError(f"{_camel(name)} must be at most {PREFIX_LIMIT} printable characters")
    for name in ("global_prediction_args", "batch_prediction_args"):
        _check_arguments(_camel(name), getattr(definition, name) or {})
    return definition


def read_destination(
    output_format: OutputFormat | None,
    output_location: str | None,
    database_connector_id: DatabaseConnectorId | None,
    database_output_config: JsonObject | None,
) -> JsonObject | None:
    """Where results are to be written, as a definition keeps it; None: nowhere but here."""
    if output_location and database_connector_id:
        raise InvalidParameterError("Results go to one place: name outputLocation or databaseConnectorId, not both")
    if output_location:
        kept = ExportFormat(output_format or OutputFormat.JSON)
        file = Destination(kind=Kind.FILE, location=output_location, file_format=kept, overwrite=True)
        return file.as_json
    if database_connector_id is None:
        refuse("it says nothing without databaseConnectorId", database_output_config=database_output_config)
        return None
    config = {**(database_output_config or {}), "databaseConnectorId": database_connector_id}
    return read_config("databaseOutputConfig", config).as_json


def reformatted(definition: Definition) -> JsonObject | None:
    """The destination, with files in the definition's format."""
    if definition.destination is None or not definition.output_format:
        return definition.destination
    destination = destination_of(definition.destination)
    return msgspec.structs.replace(destination, file_format=ExportFormat(definition.output_format)).as_json


def refuse(reason: str, **given: object) -> None:
    """Refuses those of the parameters that were given a value, since there is nothing here that could heed it."""
    for name, value in given.items():
        if value:
            raise InvalidParameterError(f"{_camel(name)}: {reason}")


def _check_arguments(name: str, arguments: Mapping[str, Any]) -> None:
    if arguments.get("forEval"):
        raise InvalidParameterError(f"{name}: forEval has no meaning here: the platform splits no data into folds")
    if arguments.get("createMonitor"):
        raise InvalidParameterError(f"{name}: createMonitor: there are no monitors here; leave it out")


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)

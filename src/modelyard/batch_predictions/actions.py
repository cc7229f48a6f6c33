"""Batch predictions: define, change, start, look, download. Source: the SDK's `client.py`."""

from typing import Annotated, Any

import msgspec
from sqlalchemy import select

from modelyard.actions import Call, FileBytes, RawBytes, action, while_status
from modelyard.batch_predictions import changing, describe
from modelyard.batch_predictions.definition import Definition, OutputFormat, read_destination, reformatted, refuse
from modelyard.batch_predictions.records import BatchPrediction, BatchPredictionVersion, VersionStatus
from modelyard.batch_predictions.starting import get_batch_prediction, get_version, start
from modelyard.batch_predictions.wire import (
    BatchPredictionShape,
    BatchPredictionVersionLogsShape,
    BatchPredictionVersionShape,
    is_predicting,
)
from modelyard.database import JsonObject
from modelyard.deployments.lifecycle import get_deployment
from modelyard.errors import (
    AlreadyExistsError,
    ConflictError,
    DataNotFoundError,
    InvalidEnumParameterError,
    InvalidParameterError,
    MissingParameterError,
    NotReadyError,
)
from modelyard.feature_groups.outputs import make_output_group
from modelyard.feature_groups.tables import find_by_table_name
from modelyard.ids import (
    BatchPredictionId,
    BatchPredictionVersionId,
    DatabaseConnectorId,
    DatasetId,
    DeploymentId,
    FeatureGroupId,
    ProjectId,
    new_id,
)
from modelyard.projects.access import get_project
from modelyard.projects.actions import check_name
from modelyard.refresh.actions import create_refresh_policy
from modelyard.refresh.records import RefreshType
from modelyard.storage import BlobStore

Arguments = Annotated[JsonObject, "Keyword arguments for `predict` or `predict_many`, as far as they accept them."]
Format = Annotated[OutputFormat, "CSV or JSON (one object a line)."]
Prefix = Annotated[str, "Put before the names of those columns in a CSV result."]
Columns = Annotated[list[str], "The only input columns that the result shows."]
Metadata = Annotated[bool, "Adds prediction_start_time, batch_prediction_version and model_version to each row."]
Inputs = Annotated[dict[str, str | None], "The feature group whose rows are predicted, as `{type: featureGroupId}`."]

_NO_EXPLANATIONS = "predictions can't be explained yet; leave it out"
_NOT_KEPT = (DataNotFoundError, InvalidParameterError)


@action(
    "POST",
    errors=(
        DataNotFoundError,
        InvalidParameterError,
        InvalidEnumParameterError,
        MissingParameterError,
        AlreadyExistsError,
        ConflictError,
    ),
)
def create_batch_prediction(
    call: Call,
    *,
    deployment_id: DeploymentId,
    table_name: Annotated[str | None, "A feature group is made, of which each result becomes a version."] = None,
    name: str | None = None,
    global_prediction_args: Arguments | None = None,
    batch_prediction_args: Arguments | None = None,
    explanations: bool = False,
    output_format: Format | None = None,
    output_location: str | None = None,
    database_connector_id: DatabaseConnectorId | None = None,
    database_output_config: dict[str, Any] | None = None,
    refresh_schedule: Annotated[str | None, "A cron in UTC by which it is started."] = None,
    csv_input_prefix: Prefix | None = None,
    csv_prediction_prefix: Prefix | None = None,
    csv_explanations_prefix: Prefix | None = None,
    output_includes_metadata: Metadata | None = None,
    result_input_columns: Columns | None = None,
    input_feature_groups: Inputs | None = None,
) -> BatchPredictionShape:
    """Defines a batch prediction for a deployment; startBatchPrediction does it.

    Its rows are those of the model's first training table, unless `inputFeatureGroups` or
    setBatchPredictionDatasetRemap say otherwise. The deployment need not be started.
    """
    refuse(_NO_EXPLANATIONS, explanations=explanations)
    kind, feature_group_id = changing.read_inputs(input_feature_groups or {})
    definition = Definition(
        output_format=output_format,
        csv_input_prefix=csv_input_prefix,
        csv_prediction_prefix=csv_prediction_prefix,
        csv_explanations_prefix=csv_explanations_prefix,
        output_includes_metadata=bool(output_includes_metadata),
        result_input_columns=result_input_columns or None,
        global_prediction_args=global_prediction_args,
        batch_prediction_args=batch_prediction_args,
        feature_group_type=kind,
        feature_group_id=feature_group_id,
        destination=read_destination(output_format, output_location, database_connector_id, database_output_config),
    )
    if definition.destination is not None:
        refuse("results go to one place; name this or a connector", table_name=table_name)
    batch = _new(call, deployment_id, name, table_name)
    changing.keep(call.session, call.settings, batch, definition)
    if refresh_schedule:
        _schedule(call, batch, refresh_schedule)
    return describe.batch_shape(call.session, batch)


@action("POST", errors=(DataNotFoundError, InvalidParameterError, InvalidEnumParameterError))
def update_batch_prediction(
    call: Call,
    *,
    batch_prediction_id: BatchPredictionId,
    deployment_id: DeploymentId | None = None,
    global_prediction_args: Arguments | None = None,
    batch_prediction_args: Arguments | None = None,
    explanations: bool | None = None,
    output_format: Format | None = None,
    csv_input_prefix: Prefix | None = None,
    csv_prediction_prefix: Prefix | None = None,
    csv_explanations_prefix: Prefix | None = None,
    output_includes_metadata: Metadata | None = None,
    result_input_columns: Annotated[Columns | None, "An empty list shows all again."] = None,
    name: str | None = None,
) -> BatchPredictionShape:
    """Changes a batch prediction: what is given replaces what was, all else stays. Versions keep what they had."""
    refuse(_NO_EXPLANATIONS, explanations=explanations)
    batch = get_batch_prediction(call.session, call.organization_id, batch_prediction_id, for_update=True)
    if deployment_id is not None:
        deployment = get_deployment(call.session, call.organization_id, deployment_id)
        batch.deployment_id, batch.project_id = deployment_id, deployment.project_id
    if name is not None:
        batch.name = check_name(name)
    given = {
        "global_prediction_args": global_prediction_args,
        "batch_prediction_args": batch_prediction_args,
        "output_format": output_format,
        "csv_input_prefix": csv_input_prefix,
        "csv_prediction_prefix": csv_prediction_prefix,
        "csv_explanations_prefix": csv_explanations_prefix,
        "output_includes_metadata": output_includes_metadata,
        "result_input_columns": result_input_columns,
    }
    return _changed(call, batch, **{name: value for name, value in given.items() if value is not None})


@action("POST", errors=_NOT_KEPT)
def set_batch_prediction_dataset_remap(
    call: Call,
    *,
    batch_prediction_id: BatchPredictionId,
    dataset_id_remap: Annotated[dict[DatasetId, DatasetId], "Dataset of the training -> the one that takes its place."],
) -> BatchPredictionShape:
    """Swaps datasets for this batch prediction: the input's definitions are run over the others. `{}` takes it back."""
    batch = get_batch_prediction(call.session, call.organization_id, batch_prediction_id, for_update=True)
    return _changed(call, batch, dataset_id_remap=dataset_id_remap)


@action("POST", errors=_NOT_KEPT)
def set_batch_prediction_feature_group(
    call: Call,
    *,
    batch_prediction_id: BatchPredictionId,
    feature_group_type: Annotated[str, "Your word for the input; a batch prediction has one."],
    feature_group_id: Annotated[FeatureGroupId | None, "Without one: the model's first training table again."] = None,
) -> BatchPredictionShape:
    """Sets the feature group whose rows are predicted."""
    batch = get_batch_prediction(call.session, call.organization_id, batch_prediction_id, for_update=True)
    return _changed(call, batch, feature_group_type=feature_group_type, feature_group_id=feature_group_id)


@action("POST", errors=(*_NOT_KEPT, AlreadyExistsError))
def set_batch_prediction_feature_group_output(
    call: Call,
    *,
    batch_prediction_id: BatchPredictionId,
    table_name: Annotated[str, "Name of the feature group's table, which is made."],
) -> BatchPredictionShape:
    """Makes a feature group, of which each result becomes a version from now on. Results are CSV then."""
    batch = get_batch_prediction(call.session, call.organization_id, batch_prediction_id, for_update=True)
    group = find_by_table_name(call.session, call.organization_id, table_name)
    if group is None or group.feature_group_id != batch.output_feature_group_id:
        batch.output_feature_group_id = _make_output(call, table_name)
    return _changed(call, batch, destination=None)


@action("POST", errors=(*_NOT_KEPT, InvalidEnumParameterError, MissingParameterError))
def set_batch_prediction_file_connector_output(
    call: Call,
    *,
    batch_prediction_id: BatchPredictionId,
    output_format: Format | None = None,
    output_location: Annotated[
        str | None, "A file, which each result replaces, or a folder; without one: here."
    ] = None,
) -> BatchPredictionShape:
    """Writes results to a bucket or to a folder that the operator opened, from now on. They stay here, too."""
    batch = get_batch_prediction(call.session, call.organization_id, batch_prediction_id, for_update=True)
    format_ = output_format or batch.defined.output_format
    destination = read_destination(format_, output_location, None, None)
    batch.output_feature_group_id = None
    return _changed(call, batch, output_format=format_, destination=destination)


@action("POST", errors=(*_NOT_KEPT, InvalidEnumParameterError, MissingParameterError, ConflictError))
def set_batch_prediction_database_connector_output(
    call: Call,
    *,
    batch_prediction_id: BatchPredictionId,
    database_connector_id: Annotated[DatabaseConnectorId | None, "Without one results stay here."] = None,
    database_output_config: Annotated[
        dict[str, Any] | None, "objectName, writeMode, databaseFeatureMapping (column -> name in the result), idColumn."
    ] = None,
) -> BatchPredictionShape:
    """Writes results into a table of a database from now on. They stay here for download, too."""
    batch = get_batch_prediction(call.session, call.organization_id, batch_prediction_id, for_update=True)
    destination = read_destination(None, None, database_connector_id, database_output_config)
    batch.output_feature_group_id = None
    return _changed(call, batch, destination=destination)


@action("POST", errors=_NOT_KEPT)
def set_batch_prediction_output_to_console(
    call: Call, *, batch_prediction_id: BatchPredictionId
) -> BatchPredictionShape:
    """Keeps results for download, and nowhere else."""
    batch = get_batch_prediction(call.session, call.organization_id, batch_prediction_id, for_update=True)
    batch.output_feature_group_id = None
    return _changed(call, batch, destination=None)


@action("POST", errors=(DataNotFoundError, ConflictError, NotReadyError))
def start_batch_prediction(call: Call, *, batch_prediction_id: BatchPredictionId) -> BatchPredictionVersionShape:
    """Starts a batch prediction with the model version that its deployment has now; the answer is PENDING."""
    get_batch_prediction(call.session, call.organization_id, batch_prediction_id)
    return describe.version_shape(call.session, start(call.session, call.settings, batch_prediction_id))


@action("GET", errors=(DataNotFoundError,), under_way=is_predicting)
def describe_batch_prediction(call: Call, *, batch_prediction_id: BatchPredictionId) -> BatchPredictionShape:
    """One batch prediction, with its newest version."""
    found = get_batch_prediction(call.session, call.organization_id, batch_prediction_id)
    return describe.batch_shape(call.session, found)


@action("GET", errors=(DataNotFoundError, InvalidParameterError))
def list_batch_predictions(
    call: Call, *, project_id: ProjectId, limit: Annotated[int | None, "Most to give."] = None
) -> list[BatchPredictionShape]:
    """The project's batch predictions, newest first."""
    get_project(call.session, call.organization_id, project_id)
    query = select(BatchPrediction).where(BatchPrediction.project_id == project_id)
    query = query.order_by(BatchPrediction.created_at.desc(), BatchPrediction.batch_prediction_id)
    found = call.session.scalars(query.limit(_page(call, limit)))
    return [describe.batch_shape(call.session, batch) for batch in found.all()]


@action("DELETE", errors=(DataNotFoundError,))
def delete_batch_prediction(call: Call, *, batch_prediction_id: BatchPredictionId) -> None:
    """Deletes a batch prediction with its versions and their results; one under way is stopped."""
    changing.delete(
        call.session, get_batch_prediction(call.session, call.organization_id, batch_prediction_id, for_update=True)
    )


@action("GET", errors=(DataNotFoundError,), under_way=while_status("PENDING", "UPLOADING", "PREDICTING"))
def describe_batch_prediction_version(
    call: Call, *, batch_prediction_version: BatchPredictionVersionId
) -> BatchPredictionVersionShape:
    """One version; totalPredictions and failedPredictions grow while it is PREDICTING."""
    found = get_version(call.session, call.organization_id, batch_prediction_version)
    return describe.version_shape(call.session, found)


@action("GET", errors=(DataNotFoundError, InvalidParameterError))
def list_batch_prediction_versions(
    call: Call,
    *,
    batch_prediction_id: BatchPredictionId,
    limit: Annotated[int | None, "Most versions to give."] = None,
    start_after_version: Annotated[BatchPredictionVersionId | None, "The version after which the list begins."] = None,
) -> list[BatchPredictionVersionShape]:
    """The versions of a batch prediction, newest first."""
    get_batch_prediction(call.session, call.organization_id, batch_prediction_id)
    query = select(BatchPredictionVersion).where(BatchPredictionVersion.batch_prediction_id == batch_prediction_id)
    if start_after_version is not None:
        after = get_version(call.session, call.organization_id, start_after_version)
        query = query.where(BatchPredictionVersion.number < after.number)
    found = call.session.scalars(query.order_by(BatchPredictionVersion.number.desc()).limit(_page(call, limit)))
    return describe.version_shapes(call.session, found.all())


@action("GET", errors=(DataNotFoundError,))
def get_batch_prediction_version_logs(
    call: Call, *, batch_prediction_version: BatchPredictionVersionId
) -> BatchPredictionVersionLogsShape:
    """What a version printed so far, and the user's own traceback if it failed."""
    found = get_version(call.session, call.organization_id, batch_prediction_version)
    return describe.version_logs(call.session, found)


@action("GET", errors=(DataNotFoundError,))
def get_batch_prediction_connector_errors(
    call: Call, *, batch_prediction_version: BatchPredictionVersionId
) -> RawBytes:
    """The row that the database refused, as a line of JSON: `row` (from 1), `column`, `error`. Empty if none was."""
    found = get_version(call.session, call.organization_id, batch_prediction_version)
    return RawBytes(iter([msgspec.json.encode(each) + b"\n" for each in found.refused_rows or []]))


@action("GET", errors=(DataNotFoundError, InvalidParameterError, ConflictError, NotReadyError))
def download_batch_prediction_result_chunk(
    call: Call,
    *,
    batch_prediction_version: BatchPredictionVersionId,
    offset: int = 0,
    chunk_size: Annotated[int | None, "Most bytes to give."] = None,
) -> FileBytes:
    """Bytes of a version's result from `offset` on; none past its end."""
    version = get_version(call.session, call.organization_id, batch_prediction_version)
    if version.status == VersionStatus.FAILED:
        raise ConflictError(f"Batch prediction version {batch_prediction_version} has no result: {version.error}")
    if version.result_digest is None:
        raise NotReadyError(
            f"Batch prediction version {batch_prediction_version} is {version.status}; wait for its end."
        )
    if offset < 0 or (chunk_size is not None and chunk_size < 1):
        raise InvalidParameterError(f"offset is {offset} and chunkSize {chunk_size}; they must be at least 0 and 1")
    length = min(chunk_size or call.settings.download_chunk, call.settings.download_chunk)
    return FileBytes(call.parts.get(BlobStore).path(version.result_digest), offset, length)


def _new(call: Call, deployment_id: DeploymentId, name: str | None, table_name: str | None) -> BatchPrediction:
    deployment = get_deployment(call.session, call.organization_id, deployment_id)
    return BatchPrediction(
        batch_prediction_id=BatchPredictionId(new_id()),
        organization_id=call.organization_id,
        project_id=deployment.project_id,
        deployment_id=deployment_id,
        name=check_name(name) if name is not None else f"{deployment.name} Batch Prediction"[:255],
        output_feature_group_id=_make_output(call, table_name) if table_name else None,
        versions=0,
        created_at=call.clock(),
    )


def _schedule(call: Call, batch: BatchPrediction, cron: str) -> None:
    ids = [batch.batch_prediction_id]
    kind = RefreshType.BATCHPRED
    create_refresh_policy(call, name=batch.name, cron=cron, refresh_type=kind, batch_prediction_ids=ids)


def _make_output(call: Call, table_name: str) -> FeatureGroupId:
    return make_output_group(call.session, call.organization_id, table_name).feature_group_id


def _changed(call: Call, batch: BatchPrediction, **changes: object) -> BatchPredictionShape:
    changed = msgspec.structs.replace(batch.defined, **changes)
    if changes.get("output_format") and "destination" not in changes:
        changed = msgspec.structs.replace(changed, destination=reformatted(changed))
    if changes.get("result_input_columns") == []:
        changed = msgspec.structs.replace(changed, result_input_columns=None)
    changing.keep(call.session, call.settings, batch, changed)
    return describe.batch_shape(call.session, batch)


def _page(call: Call, limit: int | None) -> int:
    if limit is not None and limit < 1:
        raise InvalidParameterError(f"limit is {limit}; it must be at least 1.")
    return min(limit or call.settings.page_size, call.settings.page_size * 10)

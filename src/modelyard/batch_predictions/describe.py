"""From rows to what callers see: batch predictions with their newest version, versions with what they were asked."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.batch_predictions.definition import Definition, format_of
from modelyard.batch_predictions.records import BatchPrediction, BatchPredictionVersion
from modelyard.batch_predictions.starting import find_input
from modelyard.batch_predictions.wire import (
    BatchPredictionShape,
    BatchPredictionVersionLogsShape,
    BatchPredictionVersionShape,
    PredictionDatasetShape,
    PredictionFeatureGroupShape,
    PredictionInputShape,
)
from modelyard.clock import iso
from modelyard.deployments.records import Deployment
from modelyard.execution import read_logs
from modelyard.feature_groups.exports.destinations import Kind, destination_of
from modelyard.feature_groups.records import FeatureGroup
from modelyard.feature_groups.substitution import datasets_of
from modelyard.ids import FeatureGroupId
from modelyard.models.records import Model
from modelyard.refresh.records import RefreshType
from modelyard.refresh.schedules import schedules_of

#: Name of the arguments' class in the SDK.
ARGUMENTS_TYPE = "TrainablePlugAndPlayBatchPredictionArgs"
#: The type of an input that the caller gave no word for.
INPUT_TYPE = "TRAINING_DATA"


def batch_shape(session: Session, batch: BatchPrediction) -> BatchPredictionShape:
    """One batch prediction."""
    deployment = session.get_one(Deployment, batch.deployment_id)
    newest = session.get(BatchPredictionVersion, batch.latest_version) if batch.latest_version else None
    feature_group_id = find_input(session, deployment, batch.defined)
    written_to = _table_name(session, batch.output_feature_group_id)
    return BatchPredictionShape(
        batch_prediction_id=batch.batch_prediction_id,
        created_at=iso(batch.created_at),
        name=batch.name,
        deployment_id=batch.deployment_id,
        output_feature_group_id=batch.output_feature_group_id,
        feature_group_table_name=written_to,
        output_feature_group_table_name=written_to,
        model_version=deployment.model_version,
        algorithm=deployment.algorithm or deployment.model_id,
        latest_batch_prediction_version=version_shape(session, newest) if newest else None,
        refresh_schedules=schedules_of(session, RefreshType.BATCHPRED, batch.batch_prediction_id),
        **_outputs(batch.defined, batch.output_feature_group_id),
        file_output_format=format_of(batch.defined, batch.output_feature_group_id),
        **_defined(session, batch.defined, feature_group_id, None),
    )


def version_shape(session: Session, version: BatchPredictionVersion) -> BatchPredictionVersionShape:
    """One version."""
    deployment = session.get(Deployment, version.deployment_id)
    model = session.get(Model, version.model_id)
    outputs = _outputs(version.defined, version.output_feature_group_id)
    is_database = outputs["connector_type"] == "DATABASE_CONNECTOR"
    return BatchPredictionVersionShape(
        batch_prediction_version=version.batch_prediction_version,
        batch_prediction_id=version.batch_prediction_id,
        status=version.status,
        deployment_id=version.deployment_id,
        model_id=version.model_id,
        model_version=version.model_version,
        predictions_started_at=iso(version.started_at),
        predictions_completed_at=iso(version.completed_at),
        total_predictions=version.total_predictions,
        failed_predictions=version.failed_predictions,
        error=version.error,
        algo_name=model.name if model else None,
        algorithm=(deployment.algorithm if deployment else None) or version.model_id,
        output_feature_group_id=version.output_feature_group_id,
        output_feature_group_version=version.output_feature_group_version,
        output_feature_group_table_name=_table_name(session, version.output_feature_group_id),
        batch_prediction_warnings=version.warning,
        database_output_total_writes=version.total_writes if is_database else None,
        database_output_failed_writes=version.failed_writes if is_database else None,
        database_output_error=is_database and bool(version.failed_writes),
        **outputs,
        file_output_format=format_of(version.defined, version.output_feature_group_id),
        **_defined(session, version.defined, version.feature_group_id, version.feature_group_version),
    )


def version_shapes(session: Session, versions: Sequence[BatchPredictionVersion]) -> list[BatchPredictionVersionShape]:
    """The versions, in that order."""
    return [version_shape(session, version) for version in versions]


def version_logs(session: Session, version: BatchPredictionVersion) -> BatchPredictionVersionLogsShape:
    """What the version printed, with the traceback that ended it; and its warnings."""
    text = "".join(line.text for line in read_logs(session, version.run_id).lines)
    lines = text.splitlines()
    if version.exception and version.exception.get("traceback"):
        lines += str(version.exception["traceback"]).splitlines()
    return BatchPredictionVersionLogsShape(logs=lines, warnings=[version.warning] if version.warning else [])


def _defined(
    session: Session, definition: Definition, feature_group_id: FeatureGroupId | None, version: str | None
) -> dict[str, Any]:
    """What a batch prediction and its versions show of a definition alike."""
    groups = _feature_groups(definition, feature_group_id, version)
    return {
        "csv_input_prefix": definition.csv_input_prefix,
        "csv_prediction_prefix": definition.csv_prediction_prefix,
        "csv_explanations_prefix": definition.csv_explanations_prefix,
        "output_includes_metadata": definition.output_includes_metadata,
        "result_input_columns": definition.result_input_columns,
        "batch_prediction_args_type": ARGUMENTS_TYPE,
        "batch_inputs": _inputs(session, definition, feature_group_id, groups),
        "input_feature_groups": groups,
        "global_prediction_args": definition.global_prediction_args,
        "batch_prediction_args": definition.batch_prediction_args,
    }


def _outputs(definition: Definition, output_feature_group_id: FeatureGroupId | None) -> dict[str, Any]:
    """Where results go. Source: the SDK's BatchPrediction, connectorType."""
    if definition.destination is None:
        return {"connector_type": "FEATURE_GROUP" if output_feature_group_id else None}
    destination = destination_of(definition.destination)
    if destination.kind is Kind.FILE:
        return {"connector_type": "FILE_CONNECTOR", "file_connector_output_location": destination.location}
    return {
        "connector_type": "DATABASE_CONNECTOR",
        "database_connector_id": destination.database_connector_id,
        "database_output_configuration": destination.as_config,
    }


def _feature_groups(
    definition: Definition, feature_group_id: FeatureGroupId | None, version: str | None
) -> list[PredictionFeatureGroupShape]:
    if feature_group_id is None:
        return []
    shape = PredictionFeatureGroupShape(
        feature_group_id=feature_group_id,
        feature_group_version=version,
        dataset_type=definition.feature_group_type or INPUT_TYPE,
        default=definition.feature_group_id is None,
        required=True,
    )
    return [shape]


def _inputs(
    session: Session,
    definition: Definition,
    feature_group_id: FeatureGroupId | None,
    groups: list[PredictionFeatureGroupShape],
) -> PredictionInputShape:
    there = sorted(datasets_of(session, feature_group_id)) if feature_group_id else []
    remap = definition.dataset_id_remap
    datasets = [
        PredictionDatasetShape(
            dataset_id=remap.get(each, each),
            dataset_type=definition.feature_group_type or INPUT_TYPE,
            dataset_version=None,
            default=each not in remap,
            required=True,
        )
        for each in there
    ]
    return PredictionInputShape(
        feature_group_dataset_ids=list(there),
        dataset_id_remap={str(old): str(new) for old, new in remap.items()},
        feature_groups=groups,
        datasets=datasets,
    )


def _table_name(session: Session, feature_group_id: FeatureGroupId | None) -> str | None:
    if feature_group_id is None:
        return None
    query = select(FeatureGroup.table_name).where(FeatureGroup.feature_group_id == feature_group_id)
    return session.scalar(query)

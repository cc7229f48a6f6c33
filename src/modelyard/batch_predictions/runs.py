"""What an agent may be asked to do here: predict a table. Bound to its name by `app.py`.

Every write checks that the run is still ours, and the version becomes COMPLETE in the very transaction that ends the
run: killed at any moment, a batch is claimed again, goes on with the chunks that are missing, and never ends twice.
"""

import time
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.batch_predictions import chunks
from modelyard.batch_predictions import definition as names
from modelyard.batch_predictions.definition import Definition, OutputFormat, format_of
from modelyard.batch_predictions.inputs import Rows, find_rows
from modelyard.batch_predictions.outputs import check_columns, layout_of_table, layout_of_text
from modelyard.batch_predictions.predicting import (
    Counts,
    Predicted,
    PredictionsFailed,
    Work,
    find_environment,
    predict_table,
)
from modelyard.batch_predictions.records import ENDED, BatchPredictionVersion, VersionStatus
from modelyard.batch_predictions.starting import KIND, PREDICT
from modelyard.batch_predictions.writing import make_table, write_text
from modelyard.clock import iso, utc_now
from modelyard.database import JsonObject
from modelyard.deployments.records import Deployment
from modelyard.errors import ApiError
from modelyard.execution import Permanent, RunContext, RunKind
from modelyard.feature_groups.exports.destinations import destination_of
from modelyard.feature_groups.exports.writing_out import Job, NotWritten, write_out
from modelyard.feature_groups.materialize import MaterializationFailed, write_version_from_table
from modelyard.feature_groups.records import FeatureGroup
from modelyard.ids import BatchPredictionVersionId, FeatureGroupId, FeatureGroupVersionId, OrganizationId
from modelyard.models import versions as models
from modelyard.models.records import ModelVersion
from modelyard.models.training import clean
from modelyard.models.versions import Deployable
from modelyard.settings import Settings
from modelyard.storage import Blob, Table

#: Least seconds between two writes of how far a batch has come.
PROGRESS_S = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done."""

    version: BatchPredictionVersionId
    definition: Definition
    feature_group_id: FeatureGroupId
    #: What an earlier attempt predicted.
    feature_group_version: FeatureGroupVersionId | None
    served: Deployable
    arguments: JsonObject
    metadata: dict[str, str]
    #: The result becomes a table, for a feature group or a connector.
    is_table: bool
    is_csv: bool
    organization_id: OrganizationId


def predict(run: RunContext) -> None:
    """Predicts the version that the payload names; it ends COMPLETE, or FAILED with the user's own reason."""
    _sweep(run)
    try:
        _predict(run)
    finally:
        _sweep(run)  # this one's chunks, too, if it has ended, or was deleted meanwhile


def sweep(session: Session, settings: Settings) -> None:
    """Removes what was kept here of versions that have ended, or were deleted. Safe while others are predicted."""
    there = list(chunks.left_behind(settings))
    if there:
        mine = BatchPredictionVersion.batch_prediction_version.in_(there)
        still = select(BatchPredictionVersion.batch_prediction_version).where(
            mine, BatchPredictionVersion.status.not_in(ENDED)
        )
        chunks.sweep(settings, there, set(session.scalars(still)))


def _predict(run: RunContext) -> None:
    try:
        plan = _begin(run)
        if plan is None:
            return
        rows = _find_rows(run, plan)
        check_columns(plan.definition, rows.table)
        environment = find_environment(run, plan.served)
        work = Work(plan.version, plan.served, rows.table, plan.arguments, plan.is_table or plan.is_csv)
        predicted = predict_table(run, environment, work, _Progress(run).note)
        blob = write_text(run, work, predicted, layout_of_text(plan.definition, plan.metadata, is_csv=plan.is_csv))
        layout = layout_of_table(plan.definition, plan.metadata)
        table = make_table(run, work, predicted, layout) if plan.is_table else None
        if table is not None:
            _send(run, plan, table)
    except PredictionsFailed as failure:
        _end_failed(run, failure)
    else:
        _end_complete(run, predicted, blob, table)


def give_up_predictions(session: Session, payload: JsonObject, reason: str) -> None:
    """The run was given up or cancelled: the version is FAILED, unless it is gone or has ended."""
    version = session.get(BatchPredictionVersion, _version_id(payload), with_for_update=True)
    if version is not None and version.status not in ENDED:
        version.error, version.completed_at = clean(f"The predictions were given up: {reason}"), utc_now()
        _end(session, version, VersionStatus.FAILED)


def _begin(run: RunContext) -> Plan | None:
    """Marks the version as PREDICTING and reads what to do; None if it has ended already."""
    with run.transaction() as session:
        version = _mine(session, run)
        if version.status in ENDED:
            return None
        version.status, version.started_at = VersionStatus.PREDICTING, run.clock()
        version.total_predictions = version.failed_predictions = 0
    with run.read() as session:
        version = session.get_one(BatchPredictionVersion, _version_id(run.payload))
        try:
            model_version = session.get_one(ModelVersion, version.model_version)
            served = models.deployable(session, model_version)
        except ApiError as error:
            raise PredictionsFailed(error.message) from error
        defined = version.defined
        return Plan(
            version.batch_prediction_version,
            defined,
            version.feature_group_id,
            version.feature_group_version,
            served,
            _arguments(session.get(Deployment, version.deployment_id), defined),
            _metadata(version) if defined.output_includes_metadata else {},
            version.output_feature_group_id is not None or defined.destination is not None,
            format_of(defined, version.output_feature_group_id) is OutputFormat.CSV,
            version.organization_id,
        )


def _arguments(deployment: Deployment | None, definition: Definition) -> JsonObject:
    """As for single predictions: the deployment's defaults, under or over what the batch says."""
    defaults = (deployment.default_prediction_arguments if deployment else None) or {}
    if deployment is not None and deployment.arguments_override:
        return {**definition.arguments, **defaults}
    return {**defaults, **definition.arguments}


def _metadata(version: BatchPredictionVersion) -> dict[str, str]:
    return {
        names.START_TIME: iso(version.started_at) or "",
        names.VERSION: version.batch_prediction_version,
        names.MODEL_VERSION: version.model_version,
    }


def _find_rows(run: RunContext, plan: Plan) -> Rows:
    try:
        rows = find_rows(run, plan.feature_group_id, plan.definition.dataset_id_remap, plan.feature_group_version)
    except MaterializationFailed as error:
        raise PredictionsFailed(str(error)) from error
    with run.transaction() as session:
        _mine(session, run).feature_group_version = rows.feature_group_version
    return rows


def _send(run: RunContext, plan: Plan, table: Table) -> None:
    """Writes the result to the connector that the batch prediction names; the rows of one version arrive once."""
    if plan.definition.destination is None:
        return
    destination = destination_of(plan.definition.destination)
    job = Job(table, destination, plan.organization_id, plan.version, has_begun=True)
    failure = None
    try:
        write_out(run, job)
    except NotWritten as error:
        failure = error
    with run.transaction() as session:
        version = _mine(session, run)
        version.total_writes, version.failed_writes = table.rows, table.rows if failure else 0
        version.refused_rows = failure.refused if failure else None
    if failure is not None:
        raise PredictionsFailed(f"The predictions were made, but could not be written out: {failure}") from failure


class _Progress:
    """Writes down how far a batch has come, now and then."""

    def __init__(self, run: RunContext) -> None:
        self._run, self._written = run, 0.0

    def note(self, counts: Counts) -> None:
        if time.monotonic() - self._written < PROGRESS_S:
            return
        with self._run.transaction() as session:
            version = _mine(session, self._run)
            version.total_predictions, version.failed_predictions = counts
        self._written = time.monotonic()


def _end_complete(run: RunContext, predicted: Predicted, blob: Blob, table: Table | None) -> None:
    run.logs.flush()
    with run.transaction() as session:
        version = _mine(session, run)
        version.total_predictions, version.failed_predictions = predicted.counts
        version.error, version.exception, version.warning = None, None, predicted.warning
        version.result_digest, version.result_size = blob
        version.usage, version.completed_at = predicted.usage, run.clock()
        to_group = table is not None and version.output_feature_group_id is not None
        group = session.get(FeatureGroup, version.output_feature_group_id) if to_group else None
        if group is not None and table is not None:
            written = write_version_from_table(session, group, table)
            version.output_feature_group_version = written.feature_group_version
        _end(session, version, VersionStatus.COMPLETE)
        run.complete(session)


def _end_failed(run: RunContext, failure: PredictionsFailed) -> None:
    run.logs.flush()
    with run.transaction() as session:
        version = _mine(session, run)
        version.error, version.exception, version.usage = str(failure), failure.exception, failure.usage
        version.completed_at = run.clock()
        _end(session, version, VersionStatus.FAILED)
        run.complete(session)


def _sweep(run: RunContext) -> None:
    with run.read() as session:
        sweep(session, run.settings)


def _mine(session: Session, run: RunContext) -> BatchPredictionVersion:
    version = session.get(BatchPredictionVersion, _version_id(run.payload), with_for_update=True)
    if version is None:
        raise Permanent("the batch prediction was deleted")
    return version


def _version_id(payload: JsonObject) -> BatchPredictionVersionId:
    return BatchPredictionVersionId(payload["batchPredictionVersion"])


def _end(session: Session, version: BatchPredictionVersion, status: VersionStatus) -> None:
    version.status = status
    models.forget_user(session, version.model_version, KIND, version.batch_prediction_version)


KINDS: tuple[RunKind, ...] = (RunKind(PREDICT, predict, give_up_predictions),)

"""Queries that are run once: over the newest versions as they are, or over what the definitions would give now.

Source: the SDK's executeFeatureGroupSql and executeAsyncFeatureGroupOperation, useLatestVersion.
"""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from modelyard.actions import Call
from modelyard.database import JsonObject
from modelyard.errors import DataNotFoundError, FailedDependencyError
from modelyard.execution import RunContext, enqueue
from modelyard.feature_groups.definition import Definition
from modelyard.feature_groups.generating import run_query
from modelyard.feature_groups.materialize import MaterializationFailed, ensure_versions
from modelyard.feature_groups.outcomes import Failure, TableVersion
from modelyard.feature_groups.records import UNFINISHED, FeatureGroupOperation, FeatureGroupVersion, VersionStatus
from modelyard.feature_groups.sizes import demand_of
from modelyard.feature_groups.tables import newest_versions
from modelyard.feature_groups.versions import to_json
from modelyard.ids import FeatureGroupId, FeatureGroupOperationRunId, FeatureGroupVersionId, OrganizationId, new_id

QUERY = "feature_groups.query"


def start(session: Session, call: Call, text: str, definition: Definition, *, latest: bool) -> FeatureGroupOperation:
    """A PENDING operation and its run; FailedDependencyError names tables without the version that is needed."""
    operation = FeatureGroupOperation(
        feature_group_operation_run_id=FeatureGroupOperationRunId(new_id()),
        organization_id=call.organization_id,
        query=text,
        definition=to_json(definition),
        use_latest_version=latest,
        parents=_newest(session, definition) if latest else None,
        status=VersionStatus.PENDING,
        created_at=call.clock(),
    )
    run_id = enqueue(
        session,
        QUERY,
        {"operation": operation.feature_group_operation_run_id},
        target=operation.feature_group_operation_run_id,
        organization_id=call.organization_id,
        demand=demand_of(call.settings, None, None),
        priority=5,
    )
    operation.run_id = run_id
    session.add(operation)
    session.flush()
    return operation


def get_operation(
    session: Session, organization_id: OrganizationId, operation_id: FeatureGroupOperationRunId
) -> FeatureGroupOperation:
    """The operation of that id; DataNotFoundError if the organisation has none."""
    operation = session.get(FeatureGroupOperation, operation_id)
    if operation is None or operation.organization_id != organization_id:
        raise DataNotFoundError(f"Feature group operation {operation_id} was not found")
    return operation


def execute(run: RunContext) -> None:
    """Runs the query and keeps its rows."""
    operation_id = FeatureGroupOperationRunId(run.payload["operation"])
    with run.transaction() as session:
        operation = session.get_one(FeatureGroupOperation, operation_id)
        if operation.status not in UNFINISHED:
            return
        operation.status = VersionStatus.GENERATING
        definition, parents = operation.made_from, operation.parents
    try:
        inputs = _inputs(run, definition, parents)
        outcome = run_query(run, definition, inputs, twin=False)
    except MaterializationFailed as failed:
        inputs, outcome = [], Failure(str(failed))
    run.check_cancelled()
    with run.transaction() as session:
        operation = session.get_one(FeatureGroupOperation, operation_id)
        operation.parents = {each.feature_group_id: each.feature_group_version for each in inputs}
        operation.completed_at = run.clock()
        if isinstance(outcome, Failure):
            operation.status, operation.error = VersionStatus.FAILED, outcome.error
        else:
            operation.status, operation.table = VersionStatus.COMPLETE, to_json(outcome.table)
        run.complete(session)


def give_up_query(session: Session, payload: JsonObject, reason: str) -> None:
    """Ends the operation as FAILED."""
    operation = session.get(FeatureGroupOperation, payload["operation"])
    if operation is not None and operation.status in UNFINISHED:
        operation.status, operation.error = VersionStatus.FAILED, reason


def _newest(session: Session, definition: Definition) -> dict[str, str]:
    whole = newest_versions(session, [each.feature_group_id for each in definition.inputs], VersionStatus.COMPLETE)
    missing = [each.table_name for each in definition.inputs if each.feature_group_id not in whole]
    if missing:
        raise FailedDependencyError(
            f"There is no complete version of {', '.join(missing)}: create one first, or pass useLatestVersion false"
        )
    return {each.feature_group_id: whole[each.feature_group_id].feature_group_version for each in definition.inputs}


def _inputs(run: RunContext, definition: Definition, parents: JsonObject | None) -> Sequence[TableVersion]:
    if parents is None:
        return ensure_versions(run, [each.feature_group_id for each in definition.inputs])
    with run.read() as session:
        return [
            _table_version(session, each.feature_group_id, FeatureGroupVersionId(parents[each.feature_group_id]), name)
            for each, name in ((each, each.table_name) for each in definition.inputs)
        ]


def _table_version(
    session: Session, feature_group_id: FeatureGroupId, version_id: FeatureGroupVersionId, name: str
) -> TableVersion:
    version = session.get(FeatureGroupVersion, version_id)
    if version is None:
        raise MaterializationFailed(f"Feature group {name} was deleted")
    return TableVersion(feature_group_id, version_id, name, version.manifest)

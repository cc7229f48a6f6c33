"""Every change of a batch prediction: checked against what is there, kept, and noted with what it now stands on."""

from collections.abc import Mapping

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.batch_predictions.definition import Definition, check_definition
from modelyard.batch_predictions.records import ENDED, BatchPrediction, BatchPredictionVersion
from modelyard.batch_predictions.starting import KIND, find_input
from modelyard.deployments.lifecycle import get_deployment
from modelyard.deployments.records import Deployment
from modelyard.errors import ConflictError, DataNotFoundError, InvalidParameterError
from modelyard.execution import cancel
from modelyard.feature_groups import lineage
from modelyard.feature_groups.exports.destinations import (
    Kind,
    check_destination,
    destination_of,
    note_destination,
    open_place,
)
from modelyard.feature_groups.substitution import datasets_of, find_dataset_group
from modelyard.feature_groups.tables import get_feature_group
from modelyard.ids import BatchPredictionId, DatasetId, FeatureGroupId, OrganizationId
from modelyard.models.versions import forget_user
from modelyard.projects.access import forget_occupant, note_occupant
from modelyard.refresh.records import RefreshType
from modelyard.refresh.schedules import forget_target
from modelyard.settings import Settings


def keep(session: Session, settings: Settings, batch: BatchPrediction, definition: Definition) -> None:
    """Gives the batch prediction its definition; refuses what can't be used with a sentence that says why."""
    check_definition(definition)
    _note_destination(session, settings, batch, definition)
    if definition.feature_group_id is not None:
        get_feature_group(session, batch.organization_id, definition.feature_group_id)
    deployment = get_deployment(session, batch.organization_id, batch.deployment_id)
    if deployment.model_id is None:
        raise InvalidParameterError(
            f"Deployment {deployment.deployment_id} serves a feature group; a batch prediction needs one of a model"
        )
    feature_group_id = find_input(session, deployment, definition)
    replacing = _check_remap(session, batch.organization_id, feature_group_id, definition.dataset_id_remap)
    batch.definition = dict(msgspec.to_builtins(definition))
    session.add(batch)
    session.flush()
    used = [] if definition.feature_group_id is None else [definition.feature_group_id]
    used += [batch.output_feature_group_id] if batch.output_feature_group_id else []
    lineage.note_users(session, [*used, *replacing], KIND, batch.batch_prediction_id, batch.name)
    note_occupant(session, batch.project_id, KIND, batch.batch_prediction_id, batch.name)


def read_inputs(input_feature_groups: Mapping[str, str | None]) -> tuple[str | None, FeatureGroupId | None]:
    """The caller's word for the input and its feature group; InvalidParameterError for more than one."""
    given = {kind: each for kind, each in input_feature_groups.items() if each}
    if len(given) > 1:
        raise InvalidParameterError(
            f"inputFeatureGroups names {len(given)} feature groups ({', '.join(given)}); the rows of a batch "
            "prediction come from one"
        )
    for kind, each in given.items():
        return kind, FeatureGroupId(each)
    return None, None


def delete(session: Session, batch: BatchPrediction) -> None:
    """Removes the batch prediction with its versions; what is predicted at that moment is stopped."""
    mine = BatchPredictionVersion.batch_prediction_id == batch.batch_prediction_id
    for version in session.scalars(select(BatchPredictionVersion).where(mine).with_for_update()).all():
        if version.status not in ENDED:
            cancel(session, version.run_id)
            forget_user(session, None, KIND, version.batch_prediction_version)
        session.delete(version)
    session.flush()
    lineage.forget_user(session, KIND, batch.batch_prediction_id)
    forget_occupant(session, KIND, batch.batch_prediction_id)
    forget_target(session, RefreshType.BATCHPRED, batch.batch_prediction_id)
    note_destination(session, None, None, KIND, batch.batch_prediction_id, batch.name)
    session.delete(batch)


def check_deletable(session: Session, deployment: Deployment) -> None:
    """Refuses to delete a deployment that batch predictions stand on, with their names."""
    mine = BatchPrediction.deployment_id == deployment.deployment_id
    query = select(BatchPrediction).where(mine).order_by(BatchPrediction.name, BatchPrediction.batch_prediction_id)
    users = [f"{KIND} {batch.name} ({batch.batch_prediction_id})" for batch in session.scalars(query)]
    if users:
        raise ConflictError(
            f"Deployment {deployment.deployment_id} can't be deleted: it is used by {', '.join(users)}. "
            "Delete those first"
        )


def in_project(session: Session, project_id: str) -> list[BatchPredictionId]:
    """The project's batch predictions, oldest first."""
    query = select(BatchPrediction.batch_prediction_id).where(BatchPrediction.project_id == project_id)
    return list(session.scalars(query.order_by(BatchPrediction.created_at, BatchPrediction.batch_prediction_id)))


def _note_destination(session: Session, settings: Settings, batch: BatchPrediction, definition: Definition) -> None:
    """Refuses a connector that results can't be written to, and notes one that they can."""
    destination = destination_of(definition.destination) if definition.destination else None
    found = None
    if destination is not None:
        check_destination(session, settings, batch.organization_id, destination)
        if destination.kind is Kind.FILE:
            found = open_place(session, settings, batch.organization_id, destination)
    note_destination(session, destination, found, KIND, batch.batch_prediction_id, batch.name)


def _check_remap(
    session: Session,
    organization_id: OrganizationId,
    feature_group_id: FeatureGroupId | None,
    remap: Mapping[DatasetId, DatasetId],
) -> list[FeatureGroupId]:
    """The feature groups of the datasets that take others' places."""
    if not remap:
        return []
    there = datasets_of(session, feature_group_id) if feature_group_id else set()
    replacing = []
    for old, new in remap.items():
        group = find_dataset_group(session, organization_id, new)
        if group is None or find_dataset_group(session, organization_id, old) is None:
            raise DataNotFoundError(f"Dataset {old if group else new} was not found")
        if old not in there:
            read = ", ".join(sorted(there)) or "no dataset"
            raise InvalidParameterError(f"datasetIdRemap replaces dataset {old}, but the input reads {read}")
        replacing.append(group.feature_group_id)
    return replacing

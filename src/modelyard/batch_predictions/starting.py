"""Puts a version on the table: PENDING, with its run, in the caller's own transaction.

Called by startBatchPrediction, and by refresh runs, which have no caller. The run is `runs.predict`.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.batch_predictions.definition import Definition
from modelyard.batch_predictions.predicting import size_of
from modelyard.batch_predictions.records import BatchPrediction, BatchPredictionVersion, VersionStatus
from modelyard.clock import utc_now
from modelyard.deployments.lifecycle import get_deployment
from modelyard.deployments.records import Deployment
from modelyard.errors import ConflictError, DataNotFoundError
from modelyard.execution import enqueue
from modelyard.feature_groups.tables import get_feature_group
from modelyard.ids import (
    BatchPredictionId,
    BatchPredictionVersionId,
    FeatureGroupId,
    OrganizationId,
    new_id,
)
from modelyard.models import versions as models
from modelyard.models.records import ModelVersion
from modelyard.models.sizes import demand
from modelyard.settings import Settings

#: Name of the run, bound in `runs.KINDS`.
PREDICT = "batch_predictions.predict"
#: Under which batch predictions stand in the lists of what they use.
KIND = "batch prediction"


def get_batch_prediction(
    session: Session,
    organization_id: OrganizationId,
    batch_prediction_id: BatchPredictionId,
    *,
    for_update: bool = False,
) -> BatchPrediction:
    """The batch prediction; DataNotFoundError if the organisation has none of that id."""
    found = session.get(BatchPrediction, batch_prediction_id, with_for_update=for_update or None)
    if found is None or found.organization_id != organization_id:
        raise DataNotFoundError(f"Batch prediction {batch_prediction_id} was not found")
    return found


def get_version(
    session: Session, organization_id: OrganizationId, batch_prediction_version: BatchPredictionVersionId
) -> BatchPredictionVersion:
    """The version; DataNotFoundError if the organisation has none of that id."""
    version = session.get(BatchPredictionVersion, batch_prediction_version)
    if version is None or version.organization_id != organization_id:
        raise DataNotFoundError(f"Batch prediction version {batch_prediction_version} was not found")
    return version


def find_input(session: Session, deployment: Deployment, definition: Definition) -> FeatureGroupId | None:
    """The feature group whose rows are predicted: the one that was named, or the model's first training table."""
    if definition.feature_group_id is not None:
        return definition.feature_group_id
    version = session.get_one(ModelVersion, deployment.model_version)
    return FeatureGroupId(version.feature_group_ids[0]) if version.feature_group_ids else None


def start(session: Session, settings: Settings, batch_prediction_id: BatchPredictionId) -> BatchPredictionVersion:
    """A new PENDING version with its run, of what the batch prediction and its deployment say now.

    A stopped deployment will do: only its model version is asked for. Raises ConflictError where there is no input.
    """
    locked = select(BatchPrediction).where(BatchPrediction.batch_prediction_id == batch_prediction_id).with_for_update()
    batch = session.scalars(locked.execution_options(populate_existing=True)).one()
    deployment = get_deployment(session, batch.organization_id, batch.deployment_id)
    served = models.deployable(session, session.get_one(ModelVersion, deployment.model_version))
    version = _new_version(session, batch, deployment)
    version.run_id = enqueue(
        session,
        PREDICT,
        {"batchPredictionVersion": version.batch_prediction_version},
        target=version.batch_prediction_version,
        organization_id=batch.organization_id,
        project_id=batch.project_id,
        demand=demand(session, settings, size_of(served)),
    )
    session.add(version)
    batch.latest_version, batch.versions = version.batch_prediction_version, version.number
    session.flush()
    models.note_user(session, version.model_version, KIND, version.batch_prediction_version, batch.name)
    return version


def _new_version(session: Session, batch: BatchPrediction, deployment: Deployment) -> BatchPredictionVersion:
    definition = batch.defined
    feature_group_id = find_input(session, deployment, definition)
    if feature_group_id is None:
        raise ConflictError(
            f"Batch prediction {batch.batch_prediction_id} has no input: its model was trained without tables. "
            "Name one with setBatchPredictionFeatureGroup."
        )
    get_feature_group(session, batch.organization_id, feature_group_id)
    return BatchPredictionVersion(
        batch_prediction_version=BatchPredictionVersionId(new_id()),
        batch_prediction_id=batch.batch_prediction_id,
        organization_id=batch.organization_id,
        project_id=batch.project_id,
        number=batch.versions + 1,
        status=VersionStatus.PENDING,
        definition=batch.definition,
        feature_group_id=feature_group_id,
        deployment_id=batch.deployment_id,
        model_id=deployment.model_id,
        model_version=deployment.model_version,
        output_feature_group_id=batch.output_feature_group_id,
        total_predictions=0,
        failed_predictions=0,
        created_at=utc_now(),
    )

"""Tells the rooms below what a deployment does with their versions, so that nobody deletes what is served.

Called whenever a deployment's row has changed, after it: the version that answers, the one that is being brought up and
those beside them (canary, shadow, a former one that is kept up) are held, and no other.
"""

from sqlalchemy.orm import Session

from modelyard.clock import utc_now
from modelyard.deployments.records import Deployment, Version
from modelyard.deployments.rollouts.sides import held_versions
from modelyard.feature_groups import lineage
from modelyard.ids import FeatureGroupVersionId, ModelVersionId
from modelyard.models import versions as models

#: Under which deployments stand in the lists of projects, models and feature groups.
KIND = "deployment"


def hold(session: Session, deployment: Deployment) -> None:
    """Has what the deployment serves, and is about to serve, be kept, under its present name."""
    beside = held_versions(session, deployment, utc_now())
    mine, held = deployment.deployment_id, [deployment.version, deployment.pending_version, *beside]
    if deployment.feature_group_id is None:
        models.forget_user(session, None, KIND, mine)
        for model_version in sorted({ModelVersionId(each) for each in held if each is not None}):
            models.note_user(session, model_version, KIND, mine, deployment.name)
        return
    lineage.note_users(session, [deployment.feature_group_id], KIND, mine, deployment.name)
    versions = {FeatureGroupVersionId(each) for each in held if each is not None}
    lineage.note_version_users(session, versions, KIND, mine, deployment.name)


def release(session: Session, deployment: Deployment) -> None:
    """Holds nothing any more; for when the deployment is deleted."""
    mine = deployment.deployment_id
    if deployment.feature_group_id is None:
        models.forget_user(session, None, KIND, mine)
    else:
        lineage.forget_user(session, KIND, mine)
        lineage.forget_version_user(session, KIND, mine)


def note_progress(session: Session, deployment: Deployment, version: Version | None, state: str | None) -> None:
    """Writes down at a model version that it is to go to the deployment ("pending"), or "failed" to, or neither."""
    if version is not None and deployment.feature_group_id is None:
        models.note_deployment(session, ModelVersionId(version), deployment.deployment_id, state)

"""Environments with who uses them: what is on this machine's disk, against the versions that were made with it.

An organisation sees those that its own models and tables were made with, since names of packages tell something.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelyard.clock import iso
from modelyard.deployments.records import Deployment
from modelyard.environments import Kept
from modelyard.feature_groups.records import FeatureGroupVersion
from modelyard.ids import Digest, ModelVersionId, OrganizationId
from modelyard.models.records import Model, ModelVersion
from modelyard.upkeep.wire import DescribedEnvironmentShape, EnvironmentShape, EnvironmentUserShape


def list_environments(
    session: Session, organization_id: OrganizationId, found: Sequence[Kept]
) -> list[EnvironmentShape]:
    """Those that the organisation uses, the largest first, each with the number of model versions that it made."""
    counted = (
        select(ModelVersion.environment_id, func.count())
        .where(ModelVersion.organization_id == organization_id, ModelVersion.environment_id.is_not(None))
        .group_by(ModelVersion.environment_id)
    )
    counts: dict[Digest | None, int] = {row[0]: row[1] for row in session.execute(counted)}
    mine = [kept for kept in found if kept.about.id in counts or _made_a_table(session, organization_id, kept)]
    largest_first = sorted(mine, key=lambda kept: (-kept.about.size, kept.about.id))
    return [_shape(kept, counts.get(Digest(kept.about.id), 0)) for kept in largest_first]


def is_used(session: Session, organization_id: OrganizationId, kept: Kept) -> bool:
    """Whether a model or a feature group of the organisation was made with the environment."""
    trained = (ModelVersion.organization_id == organization_id, ModelVersion.environment_id == kept.about.id)
    found = session.scalar(select(ModelVersion.model_version).where(*trained).limit(1))
    return found is not None or _made_a_table(session, organization_id, kept)


def describe_environment(session: Session, organization_id: OrganizationId, kept: Kept) -> DescribedEnvironmentShape:
    """The environment with all of the organisation's versions that were trained with it, newest first."""
    query = (
        select(ModelVersion.model_version, ModelVersion.model_id, Model.name)
        .join(Model, Model.model_id == ModelVersion.model_id)
        .where(ModelVersion.organization_id == organization_id, ModelVersion.environment_id == kept.about.id)
        .order_by(ModelVersion.created_at.desc(), ModelVersion.model_version)
    )
    versions = session.execute(query).all()
    deployed = _deployments(session, [row.model_version for row in versions])
    users = [
        EnvironmentUserShape(
            model_version=row.model_version,
            model_id=row.model_id,
            model_name=row.name,
            deployment_ids=deployed.get(row.model_version, []),
        )
        for row in versions
    ]
    return DescribedEnvironmentShape(environment=_shape(kept, len(users)), lock=kept.lock, used_by=users)


def _made_a_table(session: Session, organization_id: OrganizationId, kept: Kept) -> bool:
    made = (FeatureGroupVersion.organization_id == organization_id, FeatureGroupVersion.lock == kept.lock)
    return session.scalar(select(FeatureGroupVersion.feature_group_version).where(*made).limit(1)) is not None


def _deployments(session: Session, versions: Sequence[ModelVersionId]) -> dict[ModelVersionId, list[str]]:
    rows = select(Deployment.model_version, Deployment.deployment_id).where(Deployment.model_version.in_(versions))
    found: dict[ModelVersionId, list[str]] = {}
    for version, deployment_id in session.execute(rows.order_by(Deployment.deployment_id)):
        if version is not None:  # none is, among those versions
            found.setdefault(version, []).append(deployment_id)
    return found


def _shape(kept: Kept, model_versions: int) -> EnvironmentShape:
    about = kept.about
    return EnvironmentShape(
        environment_id=about.id,
        python=about.python,
        platform=about.platform,
        size=about.size,
        created_at=about.created_at,
        last_used_at=iso(datetime.fromtimestamp(kept.used_at, UTC)) if kept.used_at else None,
        model_versions=model_versions,
        packages=about.packages,
    )

"""What a new deployment serves: a version of a model, or of a feature group. Called by createDeployment."""

from sqlalchemy.orm import Session

from modelyard.deployments.records import Deployment
from modelyard.deployments.tables import check_group, newest_table
from modelyard.errors import InvalidParameterError, MissingParameterError
from modelyard.feature_groups.online.groups import online_table_of
from modelyard.feature_groups.tables import get_feature_group
from modelyard.ids import FeatureGroupId, ModelId, ModelVersionId, OrganizationId, ProjectId
from modelyard.models.records import ModelVersion
from modelyard.models.versions import deployable, get_model, get_model_version, newest_complete
from modelyard.projects.access import get_project


def serve_model(
    session: Session,
    deployment: Deployment,
    model_id: ModelId | None,
    model_version: ModelVersionId | None,
    project_id: ProjectId | None,
) -> str:
    """Has it serve that version, or the model's newest complete one; gives the name that it has unless told another."""
    version = _find_version(session, deployment.organization_id, model_id, model_version)
    if project_id is not None and project_id != version.project_id:
        raise InvalidParameterError(f"projectId is {project_id}, but the model belongs to project {version.project_id}")
    deployable(session, version)
    deployment.project_id = version.project_id
    deployment.model_id, deployment.model_version = version.model_id, version.model_version
    return get_model(session, deployment.organization_id, version.model_id).name


def serve_group(
    session: Session, deployment: Deployment, feature_group_id: FeatureGroupId, project_id: ProjectId | None
) -> str:
    """Has it serve the group's newest complete version, or its rows as they stand where they are online."""
    group = get_feature_group(session, deployment.organization_id, feature_group_id)
    if project_id is None:
        raise MissingParameterError("Missing required parameter: projectId (a feature group belongs to no project)")
    get_project(session, deployment.organization_id, project_id)
    deployment.project_id, deployment.feature_group_id = project_id, feature_group_id
    deployment.online_table_id = online_table_of(group)
    if deployment.online_table_id is None:
        deployment.feature_group_version = newest_table(session, group).feature_group_version
    else:
        check_group(group)
    return group.table_name


def _find_version(
    session: Session,
    organization_id: OrganizationId,
    model_id: ModelId | None,
    model_version: ModelVersionId | None,
) -> ModelVersion:
    if model_version is not None:
        version = get_model_version(session, organization_id, model_version)
        if model_id is not None and version.model_id != model_id:
            raise InvalidParameterError(f"Model version {model_version} belongs to model {version.model_id}")
        return version
    if model_id is None:
        raise MissingParameterError("Missing required parameter: modelId (or modelVersion, or featureGroupId)")
    return newest_complete(session, get_model(session, organization_id, model_id))

"""Feature groups within projects: which a project uses, and what their columns are there."""

from typing import Any

from modelyard.actions import Call, action
from modelyard.errors import (
    AlreadyExistsError,
    DataNotFoundError,
    InvalidEnumParameterError,
    InvalidParameterError,
)
from modelyard.feature_groups.described import check_feature, columns_of
from modelyard.feature_groups.in_projects import mappings, membership
from modelyard.feature_groups.in_projects.membership import get_membership
from modelyard.feature_groups.records import ProjectFeatureGroup, SourceType, VersionStatus
from modelyard.feature_groups.tables import get_feature_group, newest_version
from modelyard.feature_groups.wire import (
    FeatureMappingShape,
    FeatureShape,
    InferredMappingsShape,
    ProjectConfigShape,
    ProjectFeatureGroupShape,
    ProjectValidationShape,
)
from modelyard.ids import FeatureGroupId, ProjectId
from modelyard.projects.access import get_project
from modelyard.projects.requirements import CUSTOM_TABLE, check_group_type

#: What `filterFeatureGroupUse` lets through. Source: the SDK's listProjectFeatureGroups.
_USES: dict[str, list[SourceType]] = {
    "USER_CREATED": [kind for kind in SourceType if kind != SourceType.BATCH_PREDICTION],
    "BATCH_PREDICTION_OUTPUT": [SourceType.BATCH_PREDICTION],
}


@action("POST", errors=(DataNotFoundError, AlreadyExistsError, InvalidEnumParameterError))
def add_feature_group_to_project(
    call: Call, *, feature_group_id: FeatureGroupId, project_id: ProjectId, feature_group_type: str = CUSTOM_TABLE
) -> None:
    """Has a project use a feature group."""
    project = get_project(call.session, call.organization_id, project_id)
    group = get_feature_group(call.session, call.organization_id, feature_group_id)
    if call.session.get(ProjectFeatureGroup, (project_id, feature_group_id)) is not None:
        raise AlreadyExistsError(f"Project {project.name} uses feature group {group.table_name} already")
    call.session.add(
        ProjectFeatureGroup(
            project_id=project_id,
            feature_group_id=feature_group_id,
            feature_group_type=check_group_type(feature_group_type),
            mappings={},
            added_at=call.clock(),
        )
    )


@action("DELETE", errors=(DataNotFoundError,))
def remove_feature_group_from_project(call: Call, *, feature_group_id: FeatureGroupId, project_id: ProjectId) -> None:
    """Has a project no longer use a feature group; the group stays."""
    call.session.delete(get_membership(call, project_id, feature_group_id))


@action("POST", errors=(DataNotFoundError, InvalidEnumParameterError))
def set_feature_group_type(
    call: Call, *, feature_group_id: FeatureGroupId, project_id: ProjectId, feature_group_type: str = CUSTOM_TABLE
) -> None:
    """Says as what kind of table a project uses a feature group."""
    member = get_membership(call, project_id, feature_group_id)
    member.feature_group_type = check_group_type(feature_group_type)


@action("GET", errors=(DataNotFoundError,))
def describe_project_feature_group(
    call: Call, *, project_id: ProjectId, feature_group_id: FeatureGroupId
) -> ProjectFeatureGroupShape:
    """A feature group as a project uses it."""
    return membership.member_shapes(call.session, [get_membership(call, project_id, feature_group_id)])[0]


@action("GET", errors=(DataNotFoundError, InvalidParameterError, InvalidEnumParameterError))
def list_project_feature_groups(
    call: Call,
    *,
    project_id: ProjectId,
    filter_feature_group_use: str | None = None,
    limit: int | None = None,
    start_after_id: FeatureGroupId | None = None,
) -> list[ProjectFeatureGroupShape]:
    """The feature groups that a project uses, in the order in which they were added."""
    if limit is not None and limit < 1:
        raise InvalidParameterError(f"limit is {limit}; it must be at least 1")
    kinds: list[SourceType] | None = None
    if filter_feature_group_use is not None:
        kinds = _USES.get(filter_feature_group_use.upper())
        if kinds is None:
            given, known = filter_feature_group_use[:100], ", ".join(_USES)
            raise InvalidEnumParameterError(f"Invalid value for filterFeatureGroupUse: {given!r}; it must be {known}")
    project = get_project(call.session, call.organization_id, project_id)
    after = get_membership(call, project_id, start_after_id) if start_after_id is not None else None
    found = membership.members(call, project, kinds, min(limit or call.settings.page_size, 1000), after)
    return membership.member_shapes(call.session, found)


@action("PATCH", errors=(DataNotFoundError,))
def set_project_feature_group_config(
    call: Call,
    *,
    feature_group_id: FeatureGroupId,
    project_id: ProjectId,
    project_config: dict[str, Any] | None = None,
) -> None:
    """Keeps a project's configuration of a feature group; {} clears it."""
    member = get_membership(call, project_id, feature_group_id)
    if project_config is not None:
        member.config = project_config or None


@action("GET", errors=(DataNotFoundError,))
def get_project_feature_group_config(
    call: Call, *, feature_group_id: FeatureGroupId, project_id: ProjectId
) -> ProjectConfigShape:
    """A project's configuration of a feature group; nulls where there is none."""
    member = get_membership(call, project_id, feature_group_id)
    return membership.config_shape(member.config) or ProjectConfigShape(type=None, config=None)


@action("POST", errors=(DataNotFoundError, InvalidParameterError, InvalidEnumParameterError))
def set_feature_mapping(
    call: Call,
    *,
    project_id: ProjectId,
    feature_group_id: FeatureGroupId,
    feature_name: str,
    feature_mapping: str | None = None,
    nested_column_name: str | None = None,
) -> list[FeatureShape]:
    """Says what a column of a project's table is; without `featureMapping` that it is nothing in particular.

    A mapping that only one column may have moves to this one. Answers the columns.
    """
    if nested_column_name:
        raise InvalidParameterError("Tables have no nested columns here; leave nestedColumnName out")
    member = get_membership(call, project_id, feature_group_id)
    group = get_feature_group(call.session, call.organization_id, feature_group_id)
    check_feature(columns_of(call.session, group), feature_name, f"Feature group {group.table_name}")
    for each in membership.member_features(call.session, member):
        if each.name == feature_name:
            mappings.check_type(each, feature_mapping)
    member.mappings = mappings.moved(member.mappings, feature_name, feature_mapping)
    return membership.member_features(call.session, member)


@action("GET", errors=(DataNotFoundError,))
def infer_feature_mappings(
    call: Call, *, project_id: ProjectId, feature_group_id: FeatureGroupId
) -> InferredMappingsShape:
    """What the columns of a project's table are likely to be, by their names and types. Nothing is changed."""
    features = membership.member_features(call.session, get_membership(call, project_id, feature_group_id))
    if not features:
        return InferredMappingsShape(
            error="The feature group has no complete version, so no columns", feature_mappings=[]
        )
    found = mappings.infer(features)
    return InferredMappingsShape(
        error=None,
        feature_mappings=[FeatureMappingShape(feature_mapping=kind, feature_name=name) for name, kind in found.items()],
    )


@action("GET", errors=(DataNotFoundError,))
def validate_project(
    call: Call, *, project_id: ProjectId, feature_group_ids: list[FeatureGroupId] | None = None
) -> ProjectValidationShape:
    """Whether the project's tables can be trained with: those named, or all; for a Python model no column is required.

    A table without rows, or whose newest version failed, is named with what to do.
    """
    project = get_project(call.session, call.organization_id, project_id)
    if feature_group_ids is None:
        found = membership.members(call, project, None, 1000, None)
    else:
        found = [get_membership(call, project_id, each) for each in feature_group_ids]
    errors = [problem for member in found if (problem := _problem(call, member)) is not None]
    hints: dict[str, Any] = {
        member.feature_group_id: hint
        for member in found
        if (hint := mappings.infer(membership.member_features(call.session, member)))
    }
    return ProjectValidationShape(valid=not errors, dataset_errors=errors, column_hints=hints)


def _problem(call: Call, member: ProjectFeatureGroup) -> dict[str, Any] | None:
    group = get_feature_group(call.session, call.organization_id, member.feature_group_id)
    whole, newest = newest_version(call.session, group, VersionStatus.COMPLETE), newest_version(call.session, group)
    if whole is not None and whole.manifest.rows:
        return None
    if whole is not None:
        message = f"The table {group.table_name} has no rows"
    elif newest is not None and newest.status == VersionStatus.FAILED:
        message = f"The table {group.table_name} could not be made: {newest.error}"
    elif newest is None and group.source_type in (SourceType.DATASET, SourceType.BATCH_PREDICTION):
        message = f"The table {group.table_name} has no rows yet"
    else:
        return None  # it is made when a training needs it
    return {
        "featureGroupId": group.feature_group_id,
        "tableName": group.table_name,
        "featureGroupType": member.feature_group_type,
        "message": message,
    }

"""Which groups a project uses: rows that join the two, and how callers see a group within a project.

A group belongs to its organisation and may be used by several projects, in each with its own kind, mappings of columns
and configuration. A project that goes takes those rows with it and leaves the groups.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from modelyard.actions import Call
from modelyard.errors import DataNotFoundError
from modelyard.feature_groups.described import columns_of
from modelyard.feature_groups.records import FeatureGroup, ProjectFeatureGroup, SourceType
from modelyard.feature_groups.schema import group_features, schema_shape
from modelyard.feature_groups.shapes import group_shapes
from modelyard.feature_groups.tables import get_feature_group
from modelyard.feature_groups.wire import (
    FeatureGroupShape,
    FeatureShape,
    ProjectConfigShape,
    ProjectFeatureGroupShape,
    ProjectSchemaShape,
)
from modelyard.ids import FeatureGroupId, ProjectId
from modelyard.projects.access import get_project
from modelyard.projects.records import Project


def get_membership(call: Call, project_id: ProjectId, feature_group_id: FeatureGroupId) -> ProjectFeatureGroup:
    """What joins the two; DataNotFoundError if either isn't there, or the project does not use the group."""
    project = get_project(call.session, call.organization_id, project_id)
    group = get_feature_group(call.session, call.organization_id, feature_group_id)
    found = call.session.get(ProjectFeatureGroup, (project_id, feature_group_id))
    if found is None:
        raise DataNotFoundError(
            f"Project {project.name} does not use feature group {group.table_name}; addFeatureGroupToProject adds it"
        )
    return found


def members(
    call: Call, project: Project, kinds: Sequence[SourceType] | None, limit: int, after: ProjectFeatureGroup | None
) -> list[ProjectFeatureGroup]:
    """The project's groups of those kinds, in the order in which they were added, `limit` of them after that one."""
    query = select(ProjectFeatureGroup).where(ProjectFeatureGroup.project_id == project.project_id)
    if kinds is not None:
        query = query.join(FeatureGroup, FeatureGroup.feature_group_id == ProjectFeatureGroup.feature_group_id)
        query = query.where(FeatureGroup.source_type.in_(kinds))
    position = tuple_(ProjectFeatureGroup.added_at, ProjectFeatureGroup.feature_group_id)
    if after is not None:
        query = query.where(position > (after.added_at, after.feature_group_id))
    ordered = query.order_by(ProjectFeatureGroup.added_at, ProjectFeatureGroup.feature_group_id)
    return list(call.session.scalars(ordered.limit(limit)))


def member_features(session: Session, member: ProjectFeatureGroup) -> list[FeatureShape]:
    """The group's columns with what they are in the project."""
    group = session.get_one(FeatureGroup, member.feature_group_id)
    return group_features(group, columns_of(session, group), member.mappings)


def member_shapes(session: Session, found: Sequence[ProjectFeatureGroup]) -> list[ProjectFeatureGroupShape]:
    """The groups as callers see them within the project."""
    groups = [session.get_one(FeatureGroup, each.feature_group_id) for each in found]
    return [
        _shape(shape, member_features(session, member), member)
        for shape, member in zip(group_shapes(session, groups), found, strict=True)
    ]


def config_shape(config: dict[str, Any] | None) -> ProjectConfigShape | None:
    """A project's configuration of a group, as it was given."""
    return ProjectConfigShape(type=(config or {}).get("type"), config=config) if config else None


def _shape(
    group: FeatureGroupShape, features: list[FeatureShape], member: ProjectFeatureGroup
) -> ProjectFeatureGroupShape:
    values = msgspec.structs.asdict(group) | {"features": features}
    config = config_shape(member.config)
    schema = ProjectSchemaShape(
        nested_schema=[],
        schema=[schema_shape(each) for each in features],
        duplicate_features=[],
        project_config=config,
    )
    return ProjectFeatureGroupShape(
        **values,
        feature_group_type=member.feature_group_type,
        project_feature_group_schema=schema,
        project_config=config,
    )

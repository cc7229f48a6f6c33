"""The shapes of projects that callers see. Source: the SDK's `Project` and `UseCase`."""

from typing import Any

import msgspec

from modelyard.clock import iso
from modelyard.projects.records import Project


class ProjectShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A project."""

    project_id: str
    name: str
    use_case: str
    problem_type: str
    created_at: str | None
    tags: list[str]


class UseCaseShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A use case that a project may have."""

    use_case: str
    pretty_name: str
    description: str
    problem_type: str


def project_shape(project: Project) -> ProjectShape:
    """The project as callers see it."""
    return ProjectShape(
        project_id=project.project_id,
        name=project.name,
        use_case=project.use_case,
        problem_type=project.problem_type,
        created_at=iso(project.created_at),
        tags=project.tags,
    )


class UseCaseRequirementsShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A kind of table that projects of a use case may hold."""

    dataset_type: str
    name: str
    description: str
    required: bool
    multi: bool
    allowed_feature_mappings: dict[str, Any]
    allowed_nested_feature_mappings: dict[str, Any]


class ProblemTypeShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What use cases have in common."""

    problem_type: str
    required_feature_group_type: str | None
    optional_feature_group_types: list[str]
    use_cases_support_custom_algorithm: list[str]


class DashboardProjectShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A project as the dashboard lists it."""

    project_id: str
    name: str
    use_case: str
    problem_type: str
    created_at: str | None
    updated_at: str | None
    created_by_email: str | None
    starred: bool
    tags: list[str]
    #: What stands in it: kind -> how many.
    contents: dict[str, int]


class DashboardShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of the dashboard."""

    projects: list[DashboardProjectShape]
    #: All tags of the organisation's projects.
    tags: list[str]
    #: Pass as `sinceProjectId` for the next page; null on the last.
    next_project_id: str | None

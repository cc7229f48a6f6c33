"""The shapes of projects that callers see. Source: the SDK's `Project` and `UseCase`."""

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

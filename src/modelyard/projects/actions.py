"""Projects: create, look, rename, tag, delete; what use cases ask for."""

from datetime import UTC, datetime

from sqlalchemy import select, tuple_

from modelyard.actions import Call, action
from modelyard.errors import ConflictError, DataNotFoundError, InvalidEnumParameterError, InvalidParameterError
from modelyard.ids import ProjectId, new_id
from modelyard.projects.access import get_project, occupants
from modelyard.projects.dashboard import Filters, list_page
from modelyard.projects.records import Project
from modelyard.projects.requirements import describe_problem, problem_type_of, requirements_of
from modelyard.projects.tags import with_tags, without_tags
from modelyard.projects.use_cases import PROBLEM_TYPES
from modelyard.projects.wire import (
    DashboardShape,
    ProblemTypeShape,
    ProjectShape,
    UseCaseRequirementsShape,
    UseCaseShape,
    project_shape,
)

#: Longest name of anything that is named by a person.
NAME_LIMIT = 255


@action("POST", errors=(InvalidEnumParameterError, InvalidParameterError))
def create_project(call: Call, *, name: str, use_case: str) -> ProjectShape:
    """Creates a project. For Python models the use case is PYTHON_MODEL; others are accepted as labels."""
    project = Project(
        project_id=ProjectId(new_id()),
        organization_id=call.organization_id,
        name=check_name(name),
        use_case=use_case.upper(),
        problem_type=problem_type_of(use_case),
        tags=[],
        created_by=call.principal.user_id,
        created_at=call.clock(),
        updated_at=call.clock(),
    )
    call.session.add(project)
    return project_shape(project)


@action("GET", errors=(DataNotFoundError,))
def describe_project(call: Call, *, project_id: ProjectId) -> ProjectShape:
    """One project."""
    return project_shape(get_project(call.session, call.organization_id, project_id))


@action("GET", errors=(DataNotFoundError, InvalidParameterError))
def list_projects(
    call: Call, *, limit: int | None = None, start_after_id: ProjectId | None = None
) -> list[ProjectShape]:
    """The organisation's projects, oldest first, `limit` of them after `startAfterId`."""
    _check_limit(limit)
    query = select(Project).where(Project.organization_id == call.organization_id)
    if start_after_id is not None:
        after = get_project(call.session, call.organization_id, start_after_id)
        query = query.where(tuple_(Project.created_at, Project.project_id) > (after.created_at, after.project_id))
    query = query.order_by(Project.created_at, Project.project_id).limit(limit or call.settings.page_size)
    return [project_shape(project) for project in call.session.scalars(query)]


@action("PATCH", errors=(DataNotFoundError, InvalidParameterError))
def rename_project(call: Call, *, project_id: ProjectId, name: str) -> None:
    """Gives a project another name."""
    project = get_project(call.session, call.organization_id, project_id)
    project.name, project.updated_at = check_name(name), call.clock()


@action("DELETE", errors=(DataNotFoundError, ConflictError))
def delete_project(call: Call, *, project_id: ProjectId, force_delete: bool = False) -> None:
    """Deletes an empty project. One that still holds models or deployments is refused with their names."""
    project = get_project(call.session, call.organization_id, project_id)
    inside = occupants(call.session, project_id)
    if inside:
        forced = " (forceDelete does not delete what people may depend on)" if force_delete else ""
        raise ConflictError(f"Project {project.name} still holds {', '.join(inside)}: delete these first{forced}")
    call.session.delete(project)


@action("GET")
def list_use_cases(call: Call) -> list[UseCaseShape]:  # noqa: ARG001 - every action takes its call
    """The use cases that a project may have."""
    return [
        UseCaseShape(
            use_case=use_case,
            pretty_name=use_case.replace("_", " ").title(),
            description=f"Projects of problem type {problem_type}",
            problem_type=problem_type,
        )
        for use_case, problem_type in PROBLEM_TYPES.items()
    ]


@action("POST", errors=(DataNotFoundError, InvalidParameterError), writes=False)
def list_projects_dashboard(
    call: Call,
    *,
    updated_filter: int | None = None,
    limit: int = 50,
    since_project_id: ProjectId | None = None,
    search: str | None = None,
    starred: bool | None = None,
    tag: str | None = None,
    tags: list[str] | None = None,
) -> DashboardShape:
    """The organisation's projects, newest change first, `limit` of them after `sinceProjectId`.

    `search` looks at names, use cases and the creator's email; a project must have every one of `tags`. Nobody can
    star a project here, so with `starred` there are none.
    """
    _check_limit(limit)
    after = get_project(call.session, call.organization_id, since_project_id) if since_project_id else None
    wanted = frozenset([*(tags or []), *([tag] if tag else [])])
    filters = Filters(updated_after=_moment(updated_filter), search=(search or "").strip(), tags=wanted)
    if starred:
        return DashboardShape(projects=[], tags=[], next_project_id=None)
    return list_page(call.session, call.organization_id, filters, min(limit, 1000), after)


@action("POST", errors=(DataNotFoundError, InvalidParameterError))
def add_project_tags(call: Call, *, project_id: ProjectId, tags: list[str]) -> None:
    """Puts tags on a project; those that it has already stay as they are."""
    project = get_project(call.session, call.organization_id, project_id)
    project.tags, project.updated_at = with_tags(project.tags, tags), call.clock()


@action("DELETE", errors=(DataNotFoundError,))
def remove_project_tags(call: Call, *, project_id: ProjectId, tags: list[str]) -> None:
    """Takes tags from a project."""
    project = get_project(call.session, call.organization_id, project_id)
    project.tags, project.updated_at = without_tags(project.tags, tags), call.clock()


@action("GET", errors=(InvalidEnumParameterError,))
def describe_use_case_requirements(call: Call, *, use_case: str) -> list[UseCaseRequirementsShape]:  # noqa: ARG001 - every action takes its call
    """The kinds of tables that projects of a use case may hold, and what their columns may be mapped to."""
    return requirements_of(use_case)


@action("GET", errors=(InvalidEnumParameterError,))
def describe_problem_type(call: Call, *, problem_type: str) -> ProblemTypeShape:  # noqa: ARG001 - every action takes its call
    """What a problem type asks for: for Python models, nothing."""
    return describe_problem(problem_type)


def check_name(name: str) -> str:
    """The name without surrounding space; InvalidParameterError if nothing is left or it is too long."""
    name = name.strip()
    if not name:
        raise InvalidParameterError("name must not be empty")
    if len(name) > NAME_LIMIT:
        raise InvalidParameterError(f"name has {len(name)} characters; at most {NAME_LIMIT} are allowed")
    return name


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise InvalidParameterError(f"limit is {limit}; it must be at least 1")


def _moment(unix_s: int | None) -> datetime | None:
    if unix_s is None:
        return None
    try:
        return datetime.fromtimestamp(unix_s, UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidParameterError(f"updatedFilter is {unix_s}; it must be seconds since 1970") from None

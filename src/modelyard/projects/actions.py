"""Projects: create, look, rename, delete."""

import difflib

from sqlalchemy import select, tuple_

from modelyard.actions import Call, action
from modelyard.errors import ConflictError, DataNotFoundError, InvalidEnumParameterError, InvalidParameterError
from modelyard.ids import ProjectId, new_id
from modelyard.projects.access import get_project, occupants
from modelyard.projects.records import Project
from modelyard.projects.use_cases import PROBLEM_TYPES
from modelyard.projects.wire import ProjectShape, UseCaseShape, project_shape

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
        problem_type=_problem_type(use_case.upper()),
        tags=[],
        created_at=call.clock(),
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
    if limit is not None and limit < 1:
        raise InvalidParameterError(f"limit is {limit}; it must be at least 1")
    query = select(Project).where(Project.organization_id == call.organization_id)
    if start_after_id is not None:
        after = get_project(call.session, call.organization_id, start_after_id)
        query = query.where(tuple_(Project.created_at, Project.project_id) > (after.created_at, after.project_id))
    query = query.order_by(Project.created_at, Project.project_id).limit(limit or call.settings.page_size)
    return [project_shape(project) for project in call.session.scalars(query)]


@action("PATCH", errors=(DataNotFoundError, InvalidParameterError))
def rename_project(call: Call, *, project_id: ProjectId, name: str) -> None:
    """Gives a project another name."""
    get_project(call.session, call.organization_id, project_id).name = check_name(name)


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


def check_name(name: str) -> str:
    """The name without surrounding space; InvalidParameterError if nothing is left or it is too long."""
    name = name.strip()
    if not name:
        raise InvalidParameterError("name must not be empty")
    if len(name) > NAME_LIMIT:
        raise InvalidParameterError(f"name has {len(name)} characters; at most {NAME_LIMIT} are allowed")
    return name


def _problem_type(use_case: str) -> str:
    if use_case in PROBLEM_TYPES:
        return PROBLEM_TYPES[use_case]
    if use_case.startswith("PRETRAINED_"):
        return "pretrained"
    near = difflib.get_close_matches(use_case, PROBLEM_TYPES, n=1) or ["PYTHON_MODEL"]
    raise InvalidEnumParameterError(f"Invalid value for useCase: {use_case[:100]!r}; did you mean {near[0]}?")

"""Finds projects for their own organisation, and keeps the list of what stands in each.

The slices above write here what they put into a project, under a name that a person recognises: a lower room never
asks an upper one.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.errors import DataNotFoundError
from modelyard.ids import OrganizationId, ProjectId
from modelyard.projects.records import Occupant, Project


def get_project(session: Session, organization_id: OrganizationId, project_id: ProjectId) -> Project:
    """The project; DataNotFoundError if that organisation has none of that id."""
    project = session.get(Project, project_id)
    if project is None or project.organization_id != organization_id:
        raise DataNotFoundError(f"Project {project_id} was not found")
    return project


def note_occupant(session: Session, project_id: ProjectId, kind: str, occupant_id: str, name: str) -> None:
    """Writes down (or renames) what stands in the project: kind "model", "deployment" ..."""
    session.merge(Occupant(kind=kind, occupant_id=occupant_id, project_id=project_id, name=name))


def forget_occupant(session: Session, kind: str, occupant_id: str) -> None:
    """Strikes out what has left its project."""
    occupant = session.get(Occupant, (kind, occupant_id))
    if occupant is not None:
        session.delete(occupant)


def occupants(session: Session, project_id: ProjectId) -> list[str]:
    """What stands in the project, such as `model Concrete (2e8901150a)`."""
    query = select(Occupant).where(Occupant.project_id == project_id).order_by(Occupant.kind, Occupant.name)
    return [f"{row.kind} {row.name} ({row.occupant_id})" for row in session.scalars(query)]

"""Projects and what stands in them."""

from datetime import datetime

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.database import Record
from modelyard.ids import OrganizationId, ProjectId, UserId


class Project(Record):
    """A container of models and deployments."""

    __tablename__ = "projects"
    __table_args__ = (Index("ix_projects_listed", "organization_id", "created_at", "project_id"),)

    project_id: Mapped[ProjectId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId]
    name: Mapped[str]
    use_case: Mapped[str]
    problem_type: Mapped[str]
    tags: Mapped[list[str]]
    #: Who made it; None if that is not known.
    created_by: Mapped[UserId | None]
    created_at: Mapped[datetime]
    #: When its name or its tags were last changed.
    updated_at: Mapped[datetime | None]


class Occupant(Record):
    """Something that stands in a project."""

    __tablename__ = "project_occupants"

    kind: Mapped[str] = mapped_column(primary_key=True)
    occupant_id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(index=True)
    name: Mapped[str]

"""The list of projects with what a dashboard shows beside them: who made each, what stands in it, its tags.

Newest change first. Filters go to the database as far as it can judge them; tags are JSON, and are looked at here.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

import msgspec
from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.orm import Session

from modelyard.accounts.records import User
from modelyard.clock import iso
from modelyard.ids import OrganizationId
from modelyard.projects.records import Occupant, Project
from modelyard.projects.wire import DashboardProjectShape, DashboardShape

#: Projects that are read at a time while tags are looked for.
_BATCH = 200
#: Escapes what LIKE takes for a wildcard.
_PLAIN = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which projects are wanted."""

    updated_after: datetime | None = None
    search: str = ""
    tags: frozenset[str] = frozenset()


def list_page(
    session: Session, organization_id: OrganizationId, filters: Filters, limit: int, after: Project | None
) -> DashboardShape:
    """The projects that pass the filters, newest change first, `limit` of them after that one."""
    found: list[tuple[Project, str | None]] = []
    for project, email in _matching(session, organization_id, filters, after):
        if len(found) == limit:
            return _page(session, organization_id, found, has_more=True)
        found.append((project, email))
    return _page(session, organization_id, found, has_more=False)


def _matching(
    session: Session, organization_id: OrganizationId, filters: Filters, after: Project | None
) -> Iterator[tuple[Project, str | None]]:
    while True:
        batch = _batch(session, organization_id, filters, after)
        for project, email in batch:
            if filters.tags <= set(project.tags):
                yield project, email
        if len(batch) < _BATCH:
            return
        after = batch[-1][0]


def _batch(
    session: Session, organization_id: OrganizationId, filters: Filters, after: Project | None
) -> list[tuple[Project, str | None]]:
    changed = func.coalesce(Project.updated_at, Project.created_at)
    query = select(Project, User.email).outerjoin(User, User.user_id == Project.created_by)
    query = query.where(Project.organization_id == organization_id)
    if filters.updated_after is not None:
        query = query.where(changed > filters.updated_after)
    if filters.search:
        like = f"%{filters.search.lower().translate(_PLAIN)}%"
        fields = (Project.name, Project.use_case, User.email)
        query = query.where(or_(*(func.lower(field).like(like, escape="\\") for field in fields)))
    if after is not None:
        query = query.where(
            tuple_(changed, Project.project_id) < (after.updated_at or after.created_at, after.project_id)
        )
    rows = session.execute(query.order_by(changed.desc(), Project.project_id.desc()).limit(_BATCH))
    return [(project, email) for project, email in rows]


def _page(
    session: Session, organization_id: OrganizationId, found: list[tuple[Project, str | None]], *, has_more: bool
) -> DashboardShape:
    ids = [project.project_id for project, _ in found]
    counts: dict[str, Counter[str]] = {}
    for occupant in session.scalars(select(Occupant).where(Occupant.project_id.in_(ids))):
        counts.setdefault(occupant.project_id, Counter())[occupant.kind] += 1
    tags = session.scalars(select(Project.tags).where(Project.organization_id == organization_id))
    return DashboardShape(
        projects=[_shape(project, email, counts.get(project.project_id, Counter())) for project, email in found],
        tags=sorted({tag for each in tags for tag in each}),
        next_project_id=ids[-1] if has_more else None,
    )


def _shape(project: Project, email: str | None, contents: Counter[str]) -> DashboardProjectShape:
    return DashboardProjectShape(
        project_id=project.project_id,
        name=project.name,
        use_case=project.use_case,
        problem_type=project.problem_type,
        created_at=iso(project.created_at),
        updated_at=iso(project.updated_at or project.created_at),
        created_by_email=email,
        starred=False,
        tags=project.tags,
        contents=dict(contents),
    )

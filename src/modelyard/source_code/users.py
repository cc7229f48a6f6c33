"""What stands on modules and Python functions: written down here by whatever imports or names them.

The rooms above say what they use (`note_users`); this room says the same of its own modules and functions. Deleting
what is used is refused with the names.
"""

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from modelyard.errors import ConflictError
from modelyard.ids import OrganizationId
from modelyard.source_code.records import Module, PythonFunction, SourceUser

MODULE = "module"
FUNCTION = "Python function"


def note_users(
    session: Session,
    organization_id: OrganizationId,
    kind: str,
    user_id: str,
    name: str,
    *,
    modules: Sequence[str] = (),
    function: str | None = None,
) -> None:
    """Says that these modules and this function, and no others, are what `kind` `user_id` stands on.

    ConflictError if one of them was deleted since it was looked at; none can be before the transaction ends.
    """
    forget_user(session, kind, user_id)
    used = [(MODULE, each) for each in modules] + ([(FUNCTION, function)] if function else [])
    for source_kind, source_name in dict.fromkeys(used):
        if (source_kind, source_name) == (kind, name):
            continue  # a module that imports itself holds nobody up
        _check_there(session, organization_id, source_kind, source_name)
        session.add(
            SourceUser(
                organization_id=organization_id,
                source_kind=source_kind,
                source_name=source_name,
                kind=kind,
                user_id=user_id,
                name=name,
            )
        )
    session.flush()


def rename_user(session: Session, kind: str, user_id: str, name: str) -> None:
    """Says what the user is called from now on."""
    for row in session.scalars(select(SourceUser).where(SourceUser.kind == kind, SourceUser.user_id == user_id)):
        row.name = name


def forget_user(session: Session, kind: str, user_id: str) -> None:
    """Takes back what was noted about it; for when it is deleted."""
    session.execute(delete(SourceUser).where(SourceUser.kind == kind, SourceUser.user_id == user_id))


def check_unused(session: Session, organization_id: OrganizationId, source_kind: str, source_name: str) -> None:
    """ConflictError naming what stands on the module or function: `model Churn (1e58b9d68a)`."""
    query = select(SourceUser).where(
        SourceUser.organization_id == organization_id,
        SourceUser.source_kind == source_kind,
        SourceUser.source_name == source_name,
    )
    rows = session.scalars(query.order_by(SourceUser.kind, SourceUser.name)).all()
    if rows:
        named = [f"{row.kind} {row.name}" + (f" ({row.user_id})" if _has_id(row) else "") for row in rows]
        raise ConflictError(
            f"The {source_kind} {source_name} is used by {', '.join(named)}; change or delete those first."
        )


def _has_id(row: SourceUser) -> bool:
    return row.kind not in (MODULE, FUNCTION)


def _check_there(session: Session, organization_id: OrganizationId, source_kind: str, source_name: str) -> None:
    """Raises if it is gone, and holds it until the transaction ends."""
    query = (
        select(Module.name).where(Module.organization_id == organization_id, Module.name == source_name)
        if source_kind == MODULE
        else select(PythonFunction.name).where(
            PythonFunction.organization_id == organization_id, PythonFunction.name == source_name
        )
    )
    if session.execute(query.with_for_update(read=True)).first() is None:
        raise ConflictError(f"The {source_kind} {source_name} was deleted meanwhile; send the request again.")

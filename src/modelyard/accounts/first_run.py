"""The first start: makes an organisation, its administrator and a key, so that a fresh house is never open.

The key is written to `$MODELYARD_HOME/admin.key`, mode 0600, before it becomes valid; the caller prints it once.
"""

import os
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.accounts.keys import create_key
from modelyard.accounts.records import Organization, Role, User, UserStatus
from modelyard.clock import Clock
from modelyard.database import Database
from modelyard.ids import OrganizationId, UserId, new_id
from modelyard.settings import Settings

KEY_FILE = "admin.key"


def prepare_accounts(database: Database, settings: Settings, clock: Clock) -> str | None:
    """The first key, if this was the first start; None ever after. Safe when two processes start at once."""
    with database.read() as session:
        if session.scalar(select(Organization.organization_id).limit(1)):
            return None
    with database.write() as session:
        if session.scalar(select(Organization.organization_id).limit(1)):
            return None
        user = add_user(
            session, add_organization(session, "Modelyard", clock), "Administrator", "admin@localhost", clock
        )
        _, key = create_key(session, user.user_id, "first start", clock())
        _write_private(settings.home / KEY_FILE, key + "\n")
    return key


def add_organization(session: Session, name: str, clock: Clock) -> Organization:
    """A new organisation."""
    organization = Organization(organization_id=OrganizationId(new_id()), name=name, created_at=clock())
    session.add(organization)
    session.flush()
    return organization


def add_user(
    session: Session, organization: Organization, name: str, email: str, clock: Clock, role: Role = Role.ADMIN
) -> User:
    """A new active user of that organisation."""
    user = User(
        user_id=UserId(new_id()),
        organization_id=organization.organization_id,
        name=name,
        email=email,
        role=role,
        status=UserStatus.ACTIVE,
        created_at=clock(),
    )
    session.add(user)
    session.flush()
    return user


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())

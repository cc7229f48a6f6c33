"""Organisations, users, API keys."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Text
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.database import Record
from modelyard.ids import ApiKeyId, OrganizationId, UserId


class Role(StrEnum):
    """What a user may do; see `policy.py`."""

    #: Everything, including keys and users.
    ADMIN = "ADMIN"
    #: Everything but administration.
    MEMBER = "MEMBER"
    #: Looks, and changes nothing.
    VIEWER = "VIEWER"


class UserStatus(StrEnum):
    """Whether a user's keys work."""

    #: They do.
    ACTIVE = "ACTIVE"
    #: They don't, until somebody makes the user active again.
    PAUSED = "PAUSED"


class Organization(Record):
    """Owns everything; nothing is visible across two of them."""

    __tablename__ = "organizations"

    organization_id: Mapped[OrganizationId] = mapped_column(primary_key=True)
    name: Mapped[str]
    created_at: Mapped[datetime]


class User(Record):
    """Somebody who holds keys."""

    __tablename__ = "users"

    user_id: Mapped[UserId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId] = mapped_column(ForeignKey("organizations.organization_id"))
    name: Mapped[str]
    email: Mapped[str] = mapped_column(unique=True)
    role: Mapped[Role] = mapped_column(Text)
    status: Mapped[UserStatus] = mapped_column(Text)
    created_at: Mapped[datetime]


class ApiKey(Record):
    """A key, of which only the digest and the last four characters are kept."""

    __tablename__ = "api_keys"

    api_key_id: Mapped[ApiKeyId] = mapped_column(primary_key=True)
    user_id: Mapped[UserId] = mapped_column(ForeignKey("users.user_id"), index=True)
    digest: Mapped[str] = mapped_column(unique=True)
    suffix: Mapped[str]
    tag: Mapped[str]
    type: Mapped[str] = mapped_column(default="default")
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]

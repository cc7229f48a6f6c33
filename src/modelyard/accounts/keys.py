"""API keys: made once, shown once, kept as a digest.

Form: `s2_` and 32 hexadecimal digits, as the hosted service's newer keys. A key has 128 random bits, so a plain sha256
is enough to keep it by: there is nothing to guess.
"""

import hashlib
import secrets
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from modelyard.accounts.records import ApiKey, Role, User, UserStatus
from modelyard.actions import Principal
from modelyard.errors import DataNotFoundError
from modelyard.ids import ApiKeyId, OrganizationId, UserId, new_id


class Holder(NamedTuple):
    """Whom a valid key stands for."""

    principal: Principal
    role: Role


def digest_of(key: str) -> str:
    """What of a key is kept."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def create_key(session: Session, user_id: UserId, tag: str, now: datetime) -> tuple[ApiKeyId, str]:
    """Makes a key for a user and gives its id and the key itself, which can't be had again."""
    key = "s2_" + secrets.token_hex(16)
    api_key_id = ApiKeyId(new_id())
    session.add(
        ApiKey(
            api_key_id=api_key_id,
            user_id=user_id,
            digest=digest_of(key),
            suffix=key[-4:],
            tag=tag,
            type="default",
            created_at=now,
        )
    )
    return api_key_id, key


def find_holder(session: Session, key: str) -> Holder | None:
    """Whom the key stands for; None for an unknown or revoked key and for a paused user's."""
    query = (
        select(User.organization_id, User.user_id, User.role)
        .join(ApiKey, ApiKey.user_id == User.user_id)
        .where(ApiKey.digest == digest_of(key), ApiKey.revoked_at.is_(None), User.status == UserStatus.ACTIVE)
    )
    found = session.execute(query).first()
    if found is None:
        return None
    role = Role(found.role)
    return Holder(Principal(found.organization_id, found.user_id, role is Role.ADMIN), role)


def list_keys(session: Session, organization_id: OrganizationId, user_id: UserId | None = None) -> list[ApiKey]:
    """The keys in force, oldest first: one user's, or all of the organisation's."""
    query = (
        select(ApiKey)
        .join(User, User.user_id == ApiKey.user_id)
        .where(User.organization_id == organization_id, ApiKey.revoked_at.is_(None))
        .order_by(ApiKey.created_at, ApiKey.api_key_id)
    )
    if user_id is not None:
        query = query.where(ApiKey.user_id == user_id)
    return list(session.scalars(query))


def revoke_key(
    session: Session,
    organization_id: OrganizationId,
    api_key_id: ApiKeyId,
    now: datetime,
    user_id: UserId | None = None,
) -> None:
    """Ends a key (only that user's, if one is given); gateways forget it within a second."""
    theirs = select(User.user_id).where(User.organization_id == organization_id)
    condition = [ApiKey.api_key_id == api_key_id, ApiKey.user_id.in_(theirs), ApiKey.revoked_at.is_(None)]
    if user_id is not None:
        condition.append(ApiKey.user_id == user_id)
    done = session.execute(update(ApiKey).where(*condition).values(revoked_at=now).returning(ApiKey.api_key_id)).first()
    if done is None:
        raise DataNotFoundError(f"API key {api_key_id} was not found")

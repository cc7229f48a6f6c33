"""Who may change a group: everybody who may write, unless it is locked; then those on its list alone.

Every action that changes what a group is or is called comes through `get_modifiable`. Making a new version from an
unchanged definition changes nothing and is open to all. Administrators may change the list, and so let themselves in.
"""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelyard.accounts.records import User
from modelyard.actions import Call
from modelyard.errors import DataNotFoundError, PermissionDeniedError
from modelyard.feature_groups.records import FeatureGroup, FeatureGroupModifier
from modelyard.feature_groups.tables import get_feature_group
from modelyard.ids import FeatureGroupId


def get_modifiable(call: Call, feature_group_id: FeatureGroupId) -> FeatureGroup:
    """The group, if the caller may change it; PermissionDeniedError if it is locked for others."""
    group = get_feature_group(call.session, call.organization_id, feature_group_id)
    check_modifiable(call.session, call, group)
    return group


def check_modifiable(session: Session, call: Call, group: FeatureGroup) -> None:
    """PermissionDeniedError if the group is locked and the caller is not on its list."""
    if group.is_locked and call.principal.user_id not in _modifiers(session, group):
        raise PermissionDeniedError(
            f"Feature group {group.table_name} is locked: only those whom listFeatureGroupModifiers shows may change it"
        )


def get_group_to_lock(call: Call, feature_group_id: FeatureGroupId) -> FeatureGroup:
    """The group, if the caller may say who changes it: whoever may change it, and administrators."""
    group = get_feature_group(call.session, call.organization_id, feature_group_id)
    if not call.principal.is_admin:
        check_modifiable(call.session, call, group)
    return group


def set_lock(call: Call, group: FeatureGroup, *, locked: bool) -> None:
    """Locks the group for all but those on its list, to which the caller comes; or opens it."""
    group.is_locked = locked
    if locked:
        _add(call.session, group, call.principal.user_id)


def add_modifier(call: Call, group: FeatureGroup, email: str) -> None:
    """Puts a user on the list; may be said twice."""
    _add(call.session, group, _user(call, email).user_id)


def remove_modifier(call: Call, group: FeatureGroup, email: str) -> None:
    """Takes a user off the list; one who isn't there is as good as taken off."""
    found = call.session.get(FeatureGroupModifier, (group.feature_group_id, _user(call, email).user_id))
    if found is not None:
        call.session.delete(found)


def modifier_emails(session: Session, group: FeatureGroup) -> list[str]:
    """Addresses of those on the list, in alphabetical order."""
    query = select(User.email).join(FeatureGroupModifier, FeatureGroupModifier.user_id == User.user_id)
    mine = FeatureGroupModifier.feature_group_id == group.feature_group_id
    return list(session.scalars(query.where(mine).order_by(User.email)))


def _modifiers(session: Session, group: FeatureGroup) -> set[str]:
    mine = FeatureGroupModifier.feature_group_id == group.feature_group_id
    return set(session.scalars(select(FeatureGroupModifier.user_id).where(mine)))


def _add(session: Session, group: FeatureGroup, user_id: str) -> None:
    session.merge(FeatureGroupModifier(feature_group_id=group.feature_group_id, user_id=user_id))


def _user(call: Call, email: str) -> User:
    mine = (User.organization_id == call.organization_id, func.lower(User.email) == email.strip().lower())
    found = call.session.scalars(select(User).where(*mine)).first()
    if found is None:
        raise DataNotFoundError(f"There is no user {email[:200]!r} in this organization")
    return found

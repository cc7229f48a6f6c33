"""Locks: a locked feature group is changed only by those on its list."""

from modelyard.actions import Call, action
from modelyard.errors import DataNotFoundError, PermissionDeniedError
from modelyard.feature_groups import modifying
from modelyard.feature_groups.modifying import get_group_to_lock
from modelyard.feature_groups.tables import get_feature_group
from modelyard.feature_groups.wire import ModifiersShape
from modelyard.ids import FeatureGroupId

_ERRORS = (DataNotFoundError, PermissionDeniedError)


@action("POST", errors=_ERRORS)
def set_feature_group_modifier_lock(call: Call, *, feature_group_id: FeatureGroupId, locked: bool = True) -> None:
    """Locks a feature group for all but those on its list, or opens it. Who locks it comes onto the list."""
    modifying.set_lock(call, get_group_to_lock(call, feature_group_id), locked=locked)


@action("GET", errors=(DataNotFoundError,))
def list_feature_group_modifiers(call: Call, *, feature_group_id: FeatureGroupId) -> ModifiersShape:
    """Whether a feature group is locked, and who may change it then."""
    group = get_feature_group(call.session, call.organization_id, feature_group_id)
    return ModifiersShape(
        modification_lock=group.is_locked,
        user_emails=modifying.modifier_emails(call.session, group),
        organization_groups=[],
    )


@action("POST", errors=_ERRORS)
def add_user_to_feature_group_modifiers(call: Call, *, feature_group_id: FeatureGroupId, email: str) -> None:
    """Lets a user change a feature group while it is locked."""
    modifying.add_modifier(call, get_group_to_lock(call, feature_group_id), email)


@action("DELETE", errors=_ERRORS)
def remove_user_from_feature_group_modifiers(call: Call, *, feature_group_id: FeatureGroupId, email: str) -> None:
    """No longer lets a user change a feature group while it is locked."""
    modifying.remove_modifier(call, get_group_to_lock(call, feature_group_id), email)

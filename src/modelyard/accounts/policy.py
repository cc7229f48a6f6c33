"""Which role may call what: the one table that the door asks and the authorisation tests are generated from."""

from modelyard.accounts.records import Role
from modelyard.actions import Action, Auth


def may_call(role: Role, action: Action) -> bool:
    """Administrators call everything, members all but administration, viewers only what changes nothing."""
    if action.auth is Auth.ADMIN:
        return role is Role.ADMIN
    if action.auth in (Auth.KEY, Auth.STREAMING_TOKEN) and action.writes:
        return role is not Role.VIEWER
    return True

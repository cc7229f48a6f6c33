"""The calls that a client makes before all others, and those about keys and users."""

from sqlalchemy import select

from modelyard.accounts import keys
from modelyard.accounts.records import ApiKey, Organization, Role, User
from modelyard.accounts.wire import ApiEndpointShape, ApiKeyShape, OrganizationGroupShape, UserShape
from modelyard.actions import Auth, Call, action
from modelyard.clock import iso
from modelyard.errors import DataNotFoundError, GenericPermissionDeniedError
from modelyard.ids import ApiKeyId

#: The newest version of the official client whose API this server speaks. A greater one would make it print warnings.
SDK_VERSION = "1.4.119"

PERMISSIONS = {
    Role.ADMIN: ["VIEW", "MODIFY", "ADMIN", "API_KEY", "INVITE_USER"],
    Role.MEMBER: ["VIEW", "MODIFY", "API_KEY"],
    Role.VIEWER: ["VIEW"],
}


@action("GET", auth=Auth.OPEN)
def version(call: Call) -> str:  # noqa: ARG001 - every action takes its call
    """The version of the official client that this server speaks."""
    return SDK_VERSION


@action("GET", auth=Auth.OPEN, errors=(GenericPermissionDeniedError,))
def get_api_endpoint(
    call: Call,
    *,
    deployment_id: str | None = None,  # noqa: ARG001 - one server answers for every deployment
    deployment_token: str | None = None,
    model_id: str | None = None,  # noqa: ARG001
    feature_group_id: str | None = None,  # noqa: ARG001
    streaming_token: str | None = None,
) -> ApiEndpointShape:
    """Where to send API calls, predictions and uploads. Asked with an API key, or with a deployment's token."""
    if call.who is None and not (deployment_token or streaming_token):
        raise GenericPermissionDeniedError
    base = call.base_url
    return ApiEndpointShape(api_endpoint=base, predict_endpoint=base, proxy_endpoint=base)


@action("GET")
def list_api_keys(call: Call, *, type: str = "default") -> list[ApiKeyShape]:  # noqa: A002 - the wire's word
    """The caller's API keys in force, mostly hidden; an administrator sees all of the organisation's."""
    who = call.principal
    mine = None if who.is_admin else who.user_id
    found = keys.list_keys(call.session, who.organization_id, mine)
    emails = {user.user_id: user.email for user in _users(call)}
    return [_api_key_shape(key, emails[key.user_id]) for key in found if key.type == type]


@action("DELETE", errors=(DataNotFoundError,))
def delete_api_key(call: Call, *, api_key_id: ApiKeyId) -> None:
    """Revokes a key for good. Everybody may revoke their own; an administrator any of the organisation's."""
    who = call.principal
    mine = None if who.is_admin else who.user_id
    keys.revoke_key(call.session, who.organization_id, api_key_id, call.clock(), mine)


@action("GET")
def describe_user(call: Call) -> UserShape:
    """The user whom the key stands for."""
    return next(_user_shape(user) for user in _users(call) if user.user_id == call.principal.user_id)


@action("GET")
def list_organization_users(call: Call) -> list[UserShape]:
    """All users of the caller's organisation."""
    return [_user_shape(user) for user in _users(call)]


def _users(call: Call) -> list[User]:
    query = select(User).join(Organization, Organization.organization_id == User.organization_id)
    query = query.where(User.organization_id == call.organization_id).order_by(User.created_at, User.user_id)
    return list(call.session.scalars(query))


def _api_key_shape(key: ApiKey, owner_email: str) -> ApiKeyShape:
    return ApiKeyShape(
        api_key_id=key.api_key_id,
        api_key="*" * 12 + key.suffix,
        api_key_suffix=key.suffix,
        tag=key.tag,
        type=key.type,
        created_at=iso(key.created_at),
        expires_at=None,
        is_expired=False,
        owner_email=owner_email,
        system_created=False,
    )


def _user_shape(user: User) -> UserShape:
    role = Role(user.role)
    group = OrganizationGroupShape(
        organization_group_id=role.lower(),
        permissions=PERMISSIONS[role],
        group_name=role.capitalize(),
        default_group=role is Role.MEMBER,
        admin=role is Role.ADMIN,
        created_at=iso(user.created_at),
    )
    return UserShape(
        user_id=user.user_id,
        name=user.name,
        email=user.email,
        created_at=iso(user.created_at),
        status=user.status,
        organization_groups=[group],
    )

"""The shapes of accounts that callers see. Source: the SDK's `ApiKey`, `User`, `OrganizationGroup`, `ApiEndpoint`."""

import msgspec


class ApiKeyShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A key, mostly hidden."""

    api_key_id: str
    api_key: str
    api_key_suffix: str
    tag: str
    type: str
    created_at: str | None
    expires_at: str | None
    is_expired: bool
    owner_email: str
    system_created: bool


class OrganizationGroupShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a user's role allows, in the API's terms."""

    organization_group_id: str
    permissions: list[str]
    group_name: str
    default_group: bool
    admin: bool
    created_at: str | None


class UserShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A user."""

    user_id: str
    name: str
    email: str
    created_at: str | None
    status: str
    organization_groups: list[OrganizationGroupShape]


class ApiEndpointShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where a client finds what. The SDK appends `/api/v0` itself, and `/api` for the proxy's calls."""

    api_endpoint: str
    predict_endpoint: str
    proxy_endpoint: str
    llm_endpoint: str | None = None
    external_chat_endpoint: str | None = None
    dashboard_endpoint: str | None = None
    hosting_domain: str | None = None
    public_hosting_domain: str | None = None
    exp_li: str | None = None
    user_preferences: dict[str, str] | None = None

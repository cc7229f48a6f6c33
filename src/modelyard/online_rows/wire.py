"""The shapes of this room that callers see. Source: the SDK's classes of the same names."""

import msgspec


class StreamingAuthTokenShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A token with which rows are written."""

    streaming_token: str
    created_at: str | None

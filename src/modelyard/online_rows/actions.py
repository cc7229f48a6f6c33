"""Streaming tokens. The rows themselves are written through the feature group that they belong to."""

from modelyard.actions import Call, action
from modelyard.clock import iso
from modelyard.errors import DataNotFoundError
from modelyard.online_rows import tokens
from modelyard.online_rows.records import StreamingToken
from modelyard.online_rows.wire import StreamingAuthTokenShape


@action("POST")
def create_streaming_token(call: Call) -> StreamingAuthTokenShape:
    """Creates a streaming token: whoever holds it may write rows to the organisation's online feature groups."""
    return _shape(tokens.create_token(call.session, call.clock, call.organization_id))


@action("GET", writes=True)  # to those who may not write: by a token they could
def list_streaming_tokens(call: Call) -> list[StreamingAuthTokenShape]:
    """The organisation's streaming tokens, oldest first."""
    return [_shape(each) for each in tokens.list_tokens(call.session, call.organization_id)]


@action("DELETE", errors=(DataNotFoundError,))
def delete_streaming_token(call: Call, *, streaming_token: str) -> None:
    """Revokes a streaming token; within a second nothing is written by it any more."""
    tokens.delete_token(call.session, call.organization_id, streaming_token)


def _shape(token: StreamingToken) -> StreamingAuthTokenShape:
    return StreamingAuthTokenShape(streaming_token=token.streaming_token, created_at=iso(token.created_at))

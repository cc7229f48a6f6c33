"""A multipart form with a file, as a replica gets it: the query for `predict`, and keyword arguments beside it.

The bytes of the file are those that were sent, between two boundaries; nothing in them is looked at.
"""

import email.message
import email.parser
import json
import struct
from typing import Any

from .replies import BadRequest

FILE = "blob"
_MOST_PARTS = 100
#: Fields that are the platform's, not the function's.
_OURS = ("deploymentToken", "deploymentId")


def read(body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The query, `{"blob": bytes, "filename": ..., "contentType": ...}`, and the arguments."""
    (size,) = struct.unpack_from("!I", body)
    head = json.loads(body[4 : 4 + size])
    query: dict[str, Any] | None = None
    fields: dict[str, Any] = {}
    for part, content in _parts(str(head["contentType"]), body[4 + size :]):
        name = str(part.get_param("name", "", "content-disposition"))
        if name == FILE:
            said = part.get_content_type() if "content-type" in part else None
            query = {FILE: content, "filename": part.get_filename(), "contentType": said}
        elif name and name not in _OURS:
            fields[name] = _value(content)
    if query is None:
        raise BadRequest(f"The form has no file named {FILE!r}", "InvalidParameterError")
    arguments = head["arguments"]
    return query, {**fields, **arguments} if head["override"] else {**arguments, **fields}


def _parts(content_type: str, form: bytes) -> list[tuple[email.message.Message, bytes]]:
    outer = email.message.Message()
    outer["content-type"] = content_type
    boundary = outer.get_boundary()
    if outer.get_content_type() != "multipart/form-data" or not boundary:
        raise BadRequest("A file is sent as multipart/form-data, in a field named 'blob'")
    delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
    pieces = (b"\r\n" + form).split(delimiter, _MOST_PARTS + 1)
    found: list[tuple[email.message.Message, bytes]] = []
    for piece in pieces[1:]:
        if piece[:2] == b"--":
            return found
        head, separator, content = piece.partition(b"\r\n\r\n")
        if not separator or len(found) >= _MOST_PARTS:
            break
        text = head.decode("utf-8", "replace").lstrip()  # as browsers and clients write names of files
        found.append((email.parser.HeaderParser().parsestr(text), content))
    raise BadRequest(f"The form is cut off, or has more than {_MOST_PARTS} parts")


def _value(content: bytes) -> Any:
    """A field: JSON where it is that, else text."""
    text = content.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text

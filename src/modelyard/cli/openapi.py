"""`modelyard openapi`: the document that describes every action."""

import msgspec

from modelyard import app
from modelyard.api.openapi import document


def openapi() -> None:
    """Prints the document."""
    print(openapi_text(), end="")


def openapi_text() -> str:
    """The document as it is printed and committed."""
    return msgspec.json.format(msgspec.json.encode(document(app.all_actions())), indent=1).decode() + "\n"

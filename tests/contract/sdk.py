"""What the installed official client sends, read from its own source: action by action, without calling anything."""

import ast
from dataclasses import dataclass, field
from pathlib import Path

import abacusai

CALLS = {"_call_api", "_proxy_request"}


@dataclass
class SdkAction:
    """One action as the client calls it; a parameter may be sent in several places."""

    name: str
    verbs: set[str] = field(default_factory=set)
    query: set[str] = field(default_factory=set)
    body: set[str] = field(default_factory=set)
    form: set[str] = field(default_factory=set)
    by_proxy: bool = False
    streams: bool = False
    #: The method takes further keyword arguments of any name.
    open_ended: bool = False

    @property
    def parameters(self) -> set[str]:
        """All names, wherever they are sent."""
        return self.query | self.body | self.form


def read_actions() -> dict[str, SdkAction]:
    """Every action that the installed client knows."""
    found: dict[str, SdkAction] = {}
    for path in sorted(Path(abacusai.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS:
                _read(node, found)
    return found


def _read(call: ast.Call, found: dict[str, SdkAction]) -> None:
    if not call.args or not isinstance(call.args[0], ast.Constant):
        return  # the client's own plumbing, which passes a name on
    name = str(call.args[0].value)
    action = found.setdefault(name, SdkAction(name))
    keywords = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    verb = call.args[1] if len(call.args) > 1 else keywords.get("method")
    action.verbs.add(str(verb.value) if isinstance(verb, ast.Constant) else "POST")
    assert isinstance(call.func, ast.Attribute)
    action.by_proxy |= call.func.attr == "_proxy_request"
    action.streams |= "streamable_response" in keywords
    places = {"query_params": action.query, "body": action.body, "data": action.form, "files": action.form}
    for place, names in places.items():
        _add_keys(keywords.get(place), names, action)


def _add_keys(value: ast.expr | None, names: set[str], action: SdkAction) -> None:
    if not isinstance(value, ast.Dict):
        return
    for key in value.keys:
        if isinstance(key, ast.Constant):
            names.add(str(key.value))
        elif key is None:
            action.open_ended = True

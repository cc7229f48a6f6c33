"""What no text of a caller may hold, because no database could keep it: NUL characters and halves of surrogate pairs.

Asked by `actions.py` for every parameter, so that one sentence is said everywhere and no room has to think of it.
"""

from typing import Any


def can_be_kept(value: Any) -> bool:
    """Whether every text in a value as JSON has it, keys and items however deep, is one that can be kept."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            if "\0" in each or not (each.isascii() or _is_unicode(each)):
                return False
        elif isinstance(each, list):
            waiting.extend(each)
        elif isinstance(each, dict):
            waiting.extend(each)
            waiting.extend(each.values())
    return True


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

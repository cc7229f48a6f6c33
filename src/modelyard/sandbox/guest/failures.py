"""Exceptions of user code told to the host: the kind, the message, and the traceback cut to the user's own frames.

Where the exception came out of a library the last frame of that library stays, under its short name, so that a user
sees what refused their call. No path of the machine is told. Nothing that an exception object does may break this.
"""

import sys
import traceback
from collections.abc import Callable

#: File names of code that the user handed in, as they stand in tracebacks; `source` adds to it.
USER_FILES = {"<string>"}
#: Folders whose files are the user's as well, shown by their names below them; `code` adds to it.
USER_FOLDERS: set[str] = set()
_VALUE_LIMIT = 10_000
_TRACEBACK_LIMIT = 100_000


class Unpicklable(Exception):
    """What the function returned can't be stored; the message says which type and what to do."""


class Refused(Exception):
    """The platform's own complaint about what the user's code did, in a whole sentence; told as type and message."""


def describe(error: BaseException) -> dict[str, object]:
    """The failure as the host expects it."""
    try:
        return {
            "kind": _kind(error), "type": _type(error), "value": _value(error), "traceback": _traceback(error),
        }  # fmt: skip
    except BaseException:  # noqa: BLE001 - an exception whose own methods raise or end the process
        return {"kind": "exception", "type": "Exception", "value": "the exception can't be shown", "traceback": ""}


def _kind(error: BaseException) -> str:
    if isinstance(error, Unpicklable):
        return "unpicklable"
    if isinstance(error, MemoryError):
        return "memory"
    return "exit" if isinstance(error, SystemExit) else "exception"


def _type(error: BaseException) -> str:
    if isinstance(error, Refused):
        return str(error.args[1]) if len(error.args) > 1 else "TypeError"
    kind = type(error)
    module = kind.__module__
    known = module in ("builtins", "__main__", "modelyard_source") or not isinstance(module, str)
    return kind.__qualname__ if known or module.startswith("modelyard_guest") else f"{module}.{kind.__qualname__}"


def _value(error: BaseException) -> str:
    if isinstance(error, Refused | Unpicklable):
        return str(error.args[0])
    if isinstance(error, SystemExit):
        return f"The code called sys.exit({_shown(repr, error.code)}) before there was a result."
    return _cut(_shown(str, error), _VALUE_LIMIT)


def _shown(show: Callable[[object], str], value: object) -> str:
    try:
        return str.__str__(show(value))
    except BaseException:  # noqa: BLE001 - str() of a user's object may do anything
        return f"<{type(value).__name__} whose text can't be made>"


def _traceback(error: BaseException) -> str:
    if isinstance(error, Refused | Unpicklable) and error.__cause__ is None:
        return ""
    shown = error.__cause__ if isinstance(error, Refused | Unpicklable) and error.__cause__ else error
    told = traceback.TracebackException(type(shown), shown, shown.__traceback__, compact=True)
    _cut_frames(told, set())
    return _cut("".join(told.format()), _TRACEBACK_LIMIT)


def _cut_frames(told: traceback.TracebackException, seen: set[int]) -> None:
    if id(told) in seen:
        return
    seen.add(id(told))
    told.stack = _users_frames(told.stack)
    text = getattr(told, "_str", None)  # the only place where the text is kept
    if isinstance(text, str):
        setattr(told, "_str", _cut(text, _VALUE_LIMIT))  # noqa: B010 - the same place
    for other in (told.__cause__, told.__context__, *(getattr(told, "exceptions", None) or ())):
        if other is not None:
            _cut_frames(other, seen)


def _users_frames(stack: traceback.StackSummary) -> traceback.StackSummary:
    kept = [_by_name(frame) for frame in stack if _is_users(frame.filename)]
    last = stack[-1] if stack else None
    if kept and last is not None and not _is_users(last.filename) and (name := _short(last.filename)):
        kept.append(traceback.FrameSummary(name, last.lineno, last.name, lookup_line=False, line=last.line))
    return traceback.StackSummary.from_list(kept)


def _is_users(filename: str) -> bool:
    return filename in USER_FILES or filename.startswith(tuple(USER_FOLDERS))


def _by_name(frame: traceback.FrameSummary) -> traceback.FrameSummary:
    """The frame with its file as the user knows it."""
    for folder in USER_FOLDERS:
        if frame.filename.startswith(folder):
            name = frame.filename.removeprefix(folder)
            return traceback.FrameSummary(name, frame.lineno, frame.name, lookup_line=False, line=frame.line)
    return frame


def _short(filename: str) -> str:
    """A library's file relative to the folder it was imported from; empty for our own files and what has no name."""
    if filename.startswith(("<", _here())) or "modelyard_guest" in filename:
        return ""
    for folder in sorted(sys.path, key=len, reverse=True):
        if folder and filename.startswith(folder.rstrip("/") + "/"):
            return filename[len(folder.rstrip("/")) + 1 :]
    return filename.rpartition("/")[2]


def _here() -> str:
    return __file__.rpartition("/")[0] + "/"


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"

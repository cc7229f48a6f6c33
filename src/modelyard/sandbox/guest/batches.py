"""Single predictions that came together: one call of `predict_many` for all of them, one answer for each.

What one query does to the whole batch concerns that query alone: where `predict_many` raises, or gives an answer that
has no JSON form, `predict` is asked query by query. Queries with other keyword arguments are a batch of their own.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import answers
from .model import Model

#: A status and a body.
Outcome = tuple[int, bytes]
_SIZE = struct.Struct("!I")
_ANSWER = struct.Struct("!IB")
#: Of an answer that is the function's own.
_OK = 0
#: Kinds of keyword arguments that are told apart in one batch.
_KINDS = 16


def unpack(body: bytes) -> list[bytes]:
    """The calls of a batch, each the JSON of its body behind its length."""
    found, at = [], 0
    while at < len(body):
        (size,) = _SIZE.unpack_from(body, at)
        at += _SIZE.size + size
        found.append(body[at - size : at])
    return found


def pack(outcomes: Sequence[Outcome]) -> bytes:
    """The answers, each behind its length and its status, in the order of the calls."""
    return b"".join([_ANSWER.pack(len(body), status) + body for status, body in outcomes])


def answer(
    model: Model,
    bodies: Sequence[bytes],
    read: Callable[[bytes], tuple[Any, dict[str, Any]]],
    failed: Callable[[BaseException], Outcome],
) -> list[Outcome]:
    """One outcome a body. `read` gives a body's query and arguments, or raises; `failed` makes an error an answer."""
    calls: dict[int, tuple[Any, dict[str, Any]]] = {}
    found: dict[int, Outcome] = {}
    for at, body in enumerate(bodies):
        try:
            calls[at] = read(body)
        except BaseException as error:  # noqa: BLE001 - a failure is an answer
            found[at] = failed(error)
    for members in _alike(calls):
        queries, arguments = [calls[at][0] for at in members], calls[members[0]][1]
        together = _all_at_once(model, queries, arguments) if len(members) > 1 else None
        if together is not None:
            found |= {at: (_OK, result) for at, result in zip(members, together, strict=True)}
            continue
        for at, query in zip(members, queries, strict=True):
            try:
                found[at] = (_OK, answers.to_json(model.predict(query, arguments)))
            except BaseException as error:  # noqa: BLE001 - a failure of user code is an answer
                found[at] = failed(error)
    return [found[at] for at in range(len(bodies))]


def _alike(calls: Mapping[int, tuple[Any, dict[str, Any]]]) -> list[list[int]]:
    """The numbers of the calls, those with the same arguments together; past some kinds of arguments each alone."""
    groups: list[list[int]] = []
    for at, (_, arguments) in calls.items():
        same = next((group for group in groups[:_KINDS] if calls[group[0]][1] == arguments), None)
        if same is None:
            groups.append([at])
        else:
            same.append(at)
    return groups


def _all_at_once(model: Model, queries: Sequence[Any], arguments: Mapping[str, Any]) -> list[bytes] | None:
    """The results as JSON by one call of `predict_many`; None where there is none, or it could not do all of them."""
    if not model.has_predict_many or not all(isinstance(query, dict) for query in queries):
        return None
    try:
        return [answers.to_json(result) for result in model.predict_many(queries, arguments)]
    except Exception:  # noqa: BLE001 - the user's code; each query alone says which one it was
        return None
